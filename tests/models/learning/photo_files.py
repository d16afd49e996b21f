"""Pictures as photo files for training jobs."""

from __future__ import annotations

import hashlib
import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from models.photo_files import PhotoFile

_FOLDER = tempfile.TemporaryDirectory(prefix="photos-")


def photo_file(content: bytes) -> PhotoFile:
    """Return a photo file with this content, named by it. It is deleted at the end of the test run."""
    path = Path(_FOLDER.name) / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return PhotoFile.at(path)


def scene(seed: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """Return a picture with different corners, so that a rotation or a flip changes it."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    return image.convert("RGB")


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_bomb(side: int) -> bytes:
    """Return a valid black 1-bit PNG of side x side, in about side * side / 8 / 1000 bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
