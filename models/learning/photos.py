"""Photos of a product as people send them: decode what is usable, name what is not, prepare the rest.

Files come from outside, so nothing is decoded before its header has been judged, and only formats
that photos come in are tried at all (Pillow knows some that start other programs).
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from models.errors import UnusablePhotos

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
MIN_PHOTOS = 3
MIN_SIDE = 64
MAX_PIXELS = 120_000_000
FLAT = 2
# What Pillow's decoders raise on damaged files: its own errors, and whatever their parsers stumble over.
DAMAGED = (
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


class NotUsable(Exception):
    """One photo cannot be learned from. code: a short stable word; the message says why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.reason} [{self.code}]"


@dataclass(frozen=True)
class Prepared:
    """Photos ready for the model. pixels: (N,3,S,S) float32 RGB [0,1]; refused: position in the input -> why."""

    pixels: Tensor
    refused: dict[int, str]


def prepare(photos: Sequence[bytes], side: int, least: int = MIN_PHOTOS) -> Prepared:
    """Decode `photos` (encoded files), drop what is unusable or a copy, and cut the rest to `side` x `side`.

    Raises UnusablePhotos, with a reason for every photo refused, when fewer than `least` are left.
    """
    kept: dict[str, tuple[int, np.ndarray]] = {}
    refused: dict[int, str] = {}
    for position, content in enumerate(photos):
        try:
            squared = square(decode(content, max(MIN_SIDE, side // 4)), side)
        except NotUsable as reason:
            refused[position] = str(reason)
            continue
        first, _ = kept.setdefault(hashlib.sha256(squared.tobytes()).hexdigest(), (position, squared))
        if first != position:
            refused[position] = str(NotUsable("copy", f"a copy of photo {first + 1}"))
    if len(kept) < least:
        reasons = "; ".join(f"photo {position + 1}: {reason}" for position, reason in refused.items())
        raise UnusablePhotos(
            detail=f"{len(kept)} usable, at least {least} needed" + (f" ({reasons})" if reasons else "")
        )
    stacked = np.stack([squared for _, squared in kept.values()])
    return Prepared(torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255, refused)


def decode(content: bytes, least_side: int = MIN_SIDE) -> Image.Image:
    """Return the photo as an upright sRGB image without transparency. Raises NotUsable with the reason."""
    with warnings.catch_warnings():
        # Pillow warns of half the pixels it refuses, and of odd EXIF; both are judged here.
        warnings.simplefilter("ignore")
        return _decode(content, least_side)


def _decode(content: bytes, least_side: int) -> Image.Image:
    if content.lstrip()[:1] == b"<":
        raise NotUsable("not_an_image", "not an image but a text page (HTML or XML): is the address a download link?")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        _judge_header(image, least_side)
        image.load()
        colours = _opaque_srgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise NotUsable("too_large", f"more than {_megapixels()}: a decompression bomb?") from error
    except UnidentifiedImageError as error:
        raise NotUsable("not_an_image", "not an image of a known format (JPEG, PNG, WebP, TIFF, AVIF, BMP)") from error
    except DAMAGED as error:
        raise NotUsable("damaged", f"damaged: {_first_line(error)}") from error
    if np.ptp(np.asarray(colours), axis=(0, 1)).max() <= FLAT:
        raise NotUsable("blank", "blank: one colour only")
    return colours


def square(image: Image.Image, side: int) -> np.ndarray:
    """Return (side,side,3) uint8 RGB: the middle of the photo, scaled by an antialiased filter."""
    return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS))


def _judge_header(image: Image.Image, least_side: int) -> None:
    """Refuse by size and by number of pictures, before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise NotUsable("too_large", f"{width}x{height} is more than {_megapixels()}: a decompression bomb?")
    if min(width, height) < least_side:
        raise NotUsable("too_small", f"too small: {width}x{height}, at least {least_side} pixels a side are needed")
    # A phone's MPO holds the photo and its depth map or second view: the first frame is the photo.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        frames = getattr(image, "n_frames", 0)
        raise NotUsable("animation", f"{frames} frames: an animation or several pages, not a photo")


def _opaque_srgb(image: Image.Image) -> Image.Image:
    """Convert any mode: 16 bit to 8, transparency onto white, profiles (CMYK, Display P3) to sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return (_by_profile(image, profile) if profile else None) or image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale grey of 16 or 32 bits to its own range: `convert` would clip everything above 255 to white."""
    grey = np.asarray(image, np.float64)
    ceiling = 65535.0 if image.mode.startswith("I") else float(grey.max())
    return Image.fromarray(np.clip(grey / max(ceiling, 1e-12) * 255, 0, 255).round().astype(np.uint8))


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert through an embedded ICC profile; None where it is broken or of other channels than the image."""
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
