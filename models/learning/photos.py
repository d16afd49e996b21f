"""Decode the usable photos of a product, and give a reason for refusing each of the others.

The files are untrusted. This module checks the header before it decodes pixels, and tries only photo formats, because
some of Pillow's decoders start other programs.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from models.errors import UnusablePhotos
from models.photo_files import PhotoFile

FILE_TYPES = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
MIN_PHOTOS = 3
MIN_SIDE = 64
MAX_PIXELS = 120_000_000
MAX_FLAT_RANGE = 2
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
    MemoryError,
    struct.error,
    zlib.error,
)


class PhotoRefused(Exception):
    """A photo cannot be used for training. code: a stable identifier; reason: text for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.reason} [{self.code}]"


@dataclass(frozen=True)
class PreparedPhotos:
    """Photos ready for training. pixels: (N,3,S,S) float32 RGB in [0,1]; refused: position in the input -> reason."""

    pixels: Tensor
    refused: dict[int, str]


def prepare_photos(photos: Sequence[PhotoFile], side: int, minimum: int = MIN_PHOTOS) -> PreparedPhotos:
    """Decode `photos`, refuse unusable ones and copies, and crop the rest to `side` x `side`.

    Raises UnusablePhotos if fewer than `minimum` remain; the error gives a reason for each refused photo.
    """
    usable: dict[str, tuple[int, np.ndarray]] = {}
    refused: dict[int, str] = {}
    for position, photo in enumerate(photos):
        try:
            content = Path(photo.path).read_bytes()
            cropped = crop_square(decode_photo(content, max(MIN_SIDE, side // 4)), side)
        except PhotoRefused as error:
            refused[position] = str(error)
            continue
        first, _ = usable.setdefault(hashlib.sha256(cropped.tobytes()).hexdigest(), (position, cropped))
        if first != position:
            refused[position] = str(PhotoRefused("copy", f"a copy of photo {first + 1}"))
    if len(usable) < minimum:
        reasons = "; ".join(f"photo {position + 1}: {reason}" for position, reason in refused.items())
        raise UnusablePhotos(
            detail=f"{len(usable)} usable, at least {minimum} needed" + (f" ({reasons})" if reasons else "")
        )
    stacked = np.stack([cropped for _, cropped in usable.values()])
    return PreparedPhotos(torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255, refused)


def decode_photo(content: bytes, min_side: int = MIN_SIDE) -> Image.Image:
    """Return the photo as an upright sRGB image without transparency. Raises PhotoRefused."""
    with warnings.catch_warnings():
        # Pillow warns of large images and of odd EXIF; `_decode` handles both.
        warnings.simplefilter("ignore")
        return _decode(content, min_side)


def _decode(content: bytes, min_side: int) -> Image.Image:
    if content.lstrip()[:1] == b"<":
        raise PhotoRefused(
            "not_an_image", "not an image but a text page (HTML or XML): is the address a download link?"
        )
    try:
        image = Image.open(io.BytesIO(content), formats=FILE_TYPES)
        _check_header(image, min_side)
        image.load()
        colours = _opaque_srgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise PhotoRefused("too_large", f"more than {_megapixels()}: a decompression bomb?") from error
    except UnidentifiedImageError as error:
        raise PhotoRefused(
            "not_an_image", "not an image of a known format (JPEG, PNG, WebP, TIFF, AVIF, BMP)"
        ) from error
    except DECODER_ERRORS as error:
        raise PhotoRefused("damaged", f"damaged: {_first_line(error)}") from error
    if np.ptp(np.asarray(colours), axis=(0, 1)).max() <= MAX_FLAT_RANGE:
        raise PhotoRefused("blank", "blank: one colour only")
    return colours


def crop_square(image: Image.Image, side: int) -> np.ndarray:
    """Return the middle of the photo as (side,side,3) uint8 RGB, scaled with an antialiasing filter."""
    return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS))


def _check_header(image: Image.Image, min_side: int) -> None:
    """Raise PhotoRefused for a wrong size or number of frames; both are in the header."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoRefused("too_large", f"{width}x{height} is more than {_megapixels()}: a decompression bomb?")
    if min(width, height) < min_side:
        raise PhotoRefused("too_small", f"too small: {width}x{height}, at least {min_side} pixels a side are needed")
    # A phone's MPO file holds the photo as its first frame, then a depth map or a second view.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        frames = getattr(image, "n_frames", 0)
        raise PhotoRefused("animation", f"{frames} frames: an animation or several pages, not a photo")


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
    """Scale 16-bit grey by its full range and other wide grey by its brightest pixel.

    Pillow's `convert` would clip all values above 255 to white.
    """
    grey = np.asarray(image, np.float64)
    ceiling = 65535.0 if image.mode.startswith("I") else float(grey.max())
    return Image.fromarray(np.clip(grey / max(ceiling, 1e-12) * 255, 0, 255).round().astype(np.uint8))


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert to sRGB by an embedded ICC profile. Returns None if it is broken or does not fit the image's channels."""
    try:
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _megapixels() -> str:
    return f"{MAX_PIXELS // 1_000_000} megapixels"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
