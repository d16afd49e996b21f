"""Reads sound pixels that Pillow refuses: odd PNG metadata, a JPEG without its end, a TIFF of floats."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, TiffImagePlugin

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_TEXT = 2**20  # bytes of one chunk's inflated content; Pillow refuses the whole file above it
_MAX_TEXTS = 16 * 2**20  # bytes of all such chunks
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_USED = (*_TEXTS, b"eXIf", b"tRNS", b"acTL")  # for pixels, orientation and animations
_END_OF_IMAGE = b"\xff\xd9"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLE_FORMAT, _FLOAT, _BIG = 339, 3, 43


def without_broken_chunks(content: bytes) -> bytes:
    """Return a PNG without those ancillary chunks that could make Pillow refuse it; any other file as it is.

    Left out: what decides no pixels, chunks with a wrong checksum, and texts and profiles that are broken or too large.
    """
    if not content.startswith(_PNG):
        return content
    kept, inflated = [_PNG], 0
    for kind, chunk in _chunks(content):
        if kind[:1].islower():
            size = _inflated_size(kind, chunk) if kind in _USED else None
            if size is None or inflated + size > _MAX_TEXTS:
                continue
            inflated += size
        kept.append(chunk)
    return b"".join(kept)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's kind and its bytes, from the length to the checksum; then the rest as it is."""
    position = len(_PNG)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind, end = content[position + 4 : position + 8], position + 12 + length
        if end > len(content) or not kind.isalpha():
            break
        yield kind, content[position:end]
        position = end
    yield b"", content[position:]


def _inflated_size(kind: bytes, chunk: bytes) -> int | None:
    """Return the bytes that the content of a text or profile takes (0: another chunk), None if it is unusable."""
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        return None
    if kind == b"acTL" and (len(chunk) < 20 or chunk[8:12] <= b"\0\0\0\1"):  # the number of frames
        return None
    if kind not in _TEXTS:
        return 0
    _, _, rest = chunk[8:-4].partition(b"\0")
    compressed, method, text = kind != b"tEXt", rest[:1], rest[1:]
    if kind == b"iTXt":
        compressed, method, text = rest[:1] != b"\0", rest[1:2], rest[2:].split(b"\0", 2)[-1]
    if not compressed:
        return len(rest) if len(rest) <= _MAX_TEXT else None
    try:
        size = len(zlib.decompressobj().decompress(text, _MAX_TEXT + 1))
    except zlib.error:
        return None
    return size if method == b"\0" and size <= _MAX_TEXT else None


def complete_jpeg(content: bytes) -> Image.Image | None:
    """Return the picture of a JPEG that lacks only its end marker, None if it lacks pixels too.

    The decoder takes missing pixels from whatever follows, so then two fillers give two pictures.
    """
    body = content.rstrip(b"\xff")  # half an end marker
    pictures = []
    for filler in (b"", b"\x55" * 64):
        picture = Image.open(io.BytesIO(body + filler + _END_OF_IMAGE), formats=("JPEG",))
        picture.load()
        pictures.append(picture)
    return None if ImageChops.difference(*pictures).getbbox(alpha_only=False) else pictures[0]


@dataclass
class FloatTiff:
    """A TIFF of floating-point colours, which only OpenCV decodes. size: (width, height) of its first page."""

    content: bytes
    size: tuple[int, int]
    format: str = "FLOAT_TIFF"

    def decode(self) -> Image.Image:
        """Return an upright 8-bit RGB image, scaled by its brightest value. Raises OSError and MemoryError."""
        import cv2  # takes 0.2 s, and hardly any photo needs it

        try:
            bgr = cv2.imdecode(np.frombuffer(self.content, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            raise OSError(f"floating-point TIFF: {error.err}") from error
        if bgr is None:
            raise OSError("floating-point TIFF that OpenCV cannot decode")
        bgr = bgr[..., None] if bgr.ndim == 2 else bgr
        brightest = float(np.max(bgr, where=np.isfinite(bgr), initial=0.0))
        colours = np.empty((*bgr.shape[:2], 3), np.uint8)
        for row in range(0, len(bgr), 64):
            rows = np.nan_to_num(bgr[row : row + 64, :, 2::-1].astype(np.float64), posinf=brightest, neginf=0.0)
            colours[row : row + 64] = np.clip(rows / max(brightest, 1e-12) * 255, 0, 255).round()
        return Image.fromarray(colours)


def float_tiff(content: bytes) -> FloatTiff | None:
    """Return a TIFF of floating-point numbers with its header read, None if the file is anything else."""
    if not content.startswith(_TIFF):
        return None
    file = io.BytesIO(content)
    directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if content[2] == _BIG else 8))
    file.seek(directory.next)
    directory.load(file)
    if set(directory.get(_SAMPLE_FORMAT, ())) != {_FLOAT}:
        return None
    size = int(directory[TiffImagePlugin.IMAGEWIDTH]), int(directory[TiffImagePlugin.IMAGELENGTH])
    return FloatTiff(content, size)
