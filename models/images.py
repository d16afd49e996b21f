"""All pixel conventions and conversions.

`pixels`: float RGB tensor (N,3,H,W) in [0,1]. `signed pixels`: the same in [-1,1], the range of a VAE.
`bytes_hwc`: uint8 numpy array (H,W,3), the input of the encoders.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.briefs import Encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEDIA_TYPES: dict[Encoding, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class Encoded:
    """A picture as a file: its bytes, its media type, and its size in pixels."""

    content: bytes
    media_type: str
    width: int
    height: int


def signed_to_pixels(signed_pixels: torch.Tensor) -> torch.Tensor:
    """Return float32 pixels (N,3,H,W) in [0,1] of signed pixels; values outside [-1,1] are clamped."""
    return (signed_pixels.float() / 2 + 0.5).clamp(0, 1)


def pixels_to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """Return signed pixels (N,3,H,W) in [-1,1] of pixels in [0,1], in the same dtype."""
    return pixels * 2 - 1


def pixels_to_bytes(pixels: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Return one uint8 array (H,W,3) per picture of pixels (N,3,H,W) in [0,1], rounded on the device, then copied."""
    rounded = pixels.float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return list(rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def bytes_to_pixels(*bytes_hwc: NDArray[np.uint8]) -> torch.Tensor:
    """Return float32 pixels (N,3,H,W) in [0,1] of uint8 arrays (H,W,3) of one size."""
    stacked = torch.from_numpy(np.stack(bytes_hwc))
    return stacked.permute(0, 3, 1, 2).contiguous().float().div(255)


def pil_to_pixels(*pictures: Image.Image) -> torch.Tensor:
    """Return float32 pixels (N,3,H,W) in [0,1] of PIL pictures of one size; other modes are converted to RGB."""
    return bytes_to_pixels(*(np.asarray(picture.convert("RGB")) for picture in pictures))


def pixels_to_pil(pixels: torch.Tensor) -> list[Image.Image]:
    """Return one RGB PIL picture per picture of pixels (N,3,H,W) in [0,1]."""
    return [Image.fromarray(array) for array in pixels_to_bytes(pixels)]


def encode(bytes_hwc: NDArray[np.uint8], encoding: Encoding, quality: int = 95, xmp: str = "") -> Encoded:
    """Return the picture (H,W,3) as a file with the XMP packet inside. The same input gives the same bytes.

    PNG at level 1 (four times faster than Pillow's default, a tenth larger), JPEG 4:4:4, WebP with its fastest method.
    Pillow ignores `xmp=` for PNG, so the packet goes into the iTXt chunk that the XMP specification names.
    """
    picture = Image.fromarray(bytes_hwc)
    target = io.BytesIO()
    packet = xmp.encode()
    match encoding:
        case "png":
            chunks = PngInfo()
            if xmp:
                chunks.add_itxt("XML:com.adobe.xmp", xmp)
            picture.save(target, "PNG", compress_level=1, pnginfo=chunks)
        case "jpeg":
            picture.save(target, "JPEG", quality=quality, subsampling=0, **({"xmp": packet} if xmp else {}))
        case "webp":
            picture.save(target, "WEBP", quality=quality, method=0, **({"xmp": packet} if xmp else {}))
    return Encoded(target.getvalue(), MEDIA_TYPES[encoding], picture.width, picture.height)
