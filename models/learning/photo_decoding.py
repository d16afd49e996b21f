"""Decodes one photo to upright 8-bit sRGB, or gives a reason for refusing it.

The files are untrusted. The header is checked before any pixel is decoded, only the first frame or page is read, and
only photo formats are tried, because some of Pillow's decoders start other programs. Metadata never decides whether a
photo is usable: what cannot be read is ignored.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import cast

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from models.learning.photo_repair import FloatTiff, complete_jpeg, float_tiff, without_broken_chunks

FILE_TYPES = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
MIN_SIDE = 64
MAX_FLAT_RANGE = 2
_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's decoders raise these on damaged files: besides its own errors, whatever its parsers raise.
DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)
OpenedPhoto = Image.Image | FloatTiff


class PhotoRefused(Exception):
    """A photo cannot be used for training. code: a stable identifier; reason: text for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.reason} [{self.code}]"


def open_photo(content: bytes, min_side: int, max_pixels: int) -> OpenedPhoto:
    """Return the photo with its header read and its size checked. Raises PhotoRefused."""
    if content.lstrip()[:1] == b"<":
        raise PhotoRefused(
            "not_an_image", "not an image but a text page (HTML or XML): is the address a download link?"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and of odd EXIF
            image = _open(without_broken_chunks(content))
        _check_header(image, min_side, max_pixels)  # a GIF reads on, to see whether it is an animation
    except Image.DecompressionBombError as error:
        raise PhotoRefused("too_large", f"more than {_megapixels(max_pixels)}: a decompression bomb?") from error
    except UnidentifiedImageError as error:
        raise PhotoRefused(
            "not_an_image", "not an image of a known format (JPEG, PNG, WebP, TIFF, AVIF, BMP)"
        ) from error
    except DECODER_ERRORS as error:
        raise PhotoRefused("damaged", f"damaged: {_first_line(error)}") from error
    return image


def decode_photo(content: bytes, image: OpenedPhoto) -> Image.Image:
    """Return an opened photo as an upright sRGB image without transparency. Raises PhotoRefused and MemoryError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            colours = _opaque_srgb(_upright(_load(content, image)))
    except DECODER_ERRORS as error:
        raise PhotoRefused("damaged", f"damaged: {_first_line(error)}") from error
    extrema = cast("tuple[tuple[int, int], ...]", colours.getextrema())
    if max(high - low for low, high in extrema) <= MAX_FLAT_RANGE:
        raise PhotoRefused("blank", "blank: one colour only")
    return colours


def crop_square(image: Image.Image, side: int) -> np.ndarray:
    """Return the middle of the photo as (side,side,3) uint8 RGB, scaled with an antialiasing filter."""
    return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS))


def _open(content: bytes) -> OpenedPhoto:
    try:
        return Image.open(io.BytesIO(content), formats=FILE_TYPES)
    except UnidentifiedImageError:
        image = float_tiff(content)
        if image is None:
            raise
        return image


def _check_header(image: OpenedPhoto, min_side: int, max_pixels: int) -> None:
    """Raise PhotoRefused for a wrong size, or for an animation; both are in the header.

    The other pages of a TIFF are thumbnails or masks. A phone's MPO file holds the photo as its first frame, then a
    depth map or a second view.
    """
    width, height = image.size
    if width * height > max_pixels:
        size = f"{width}x{height} is more than {_megapixels(max_pixels)}"
        raise PhotoRefused("too_large", f"{size}: a decompression bomb?")
    if min(width, height) < min_side:
        raise PhotoRefused("too_small", f"too small: {width}x{height}, at least {min_side} pixels a side are needed")
    if image.format not in {"MPO", "TIFF"} and getattr(image, "is_animated", False):
        raise PhotoRefused("animation", "an animation, not a photo")


def _load(content: bytes, image: OpenedPhoto) -> Image.Image:
    if isinstance(image, FloatTiff):
        return image.decode()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.is_animated = True  # Pillow then leaves out the directories of EXIF and GPS, which may be broken
    try:
        image.load()
    except OSError:
        repaired = complete_jpeg(content) if image.format in {"JPEG", "MPO"} else None
        if repaired is None:
            raise
        return repaired
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        transpose = _TRANSPOSES.get(image.getexif().get(_ORIENTATION, 1))
    except DECODER_ERRORS:
        return image
    return image if transpose is None else image.transpose(transpose)


def _opaque_srgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16 bits to 8, transparency onto white, colour profiles (CMYK, Display P3) to sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _scale_to_eight_bits(image)
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return (_convert_profile(image, profile) if profile else None) or image.convert("RGB")


def _scale_to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey by its full range, 12-bit grey by its own, and float grey by its brightest pixel.

    Pillow's `convert` would clip all values above 255 to white.
    """
    wide = np.asarray(image)
    brightest = float(wide.max())
    ceiling = brightest
    if image.mode.startswith("I"):
        ceiling = 4095.0 if brightest <= 4095 else 65535.0  # as 16 bits, 12-bit grey would be black
    grey = np.empty(wide.shape, np.uint8)
    for row in range(0, len(wide), 64):  # float64 of the whole picture would take gigabytes
        rows = wide[row : row + 64].astype(np.float64)
        grey[row : row + 64] = np.clip(rows / max(ceiling, 1e-12) * 255, 0, 255).round()
    return Image.fromarray(grey)


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert to sRGB by an embedded ICC profile. Returns None if it is broken or does not fit the image's channels."""
    try:
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1_000_000:g} megapixels"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
