"""Decoding latents into pixels. A VAE that overflows in half precision decodes in float32 from then on."""

from __future__ import annotations

import logging
from typing import Any

import torch

from models.images import signed_to_pixels
from models.latents import to_vae
from models.precision import ReducedPrecision, dtype_name, finite_rows

log = logging.getLogger(__name__)


class Decoder:
    """A VAE in `dtype`. It stays in float32 if its own configuration states that it overflows in float16."""

    def __init__(self, vae: Any, dtype: torch.dtype) -> None:
        self.vae = vae
        self._precision = ReducedPrecision(vae, torch.float32 if _needs_float32(vae, dtype) else dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the VAE now."""
        dtype: torch.dtype = self.vae.dtype
        return dtype

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return float32 pixels (N,3,H,W) in [0,1] of the UNet's latents (N,C,h,w).

        A picture that is not finite is decoded again in float32, and the VAE stays in float32. A picture that is not
        finite in float32 either is NaN throughout.
        """
        scaled = to_vae(latents, self.vae.config)
        signed = self._decode(scaled)
        overflowed = finite_rows(scaled) & ~finite_rows(signed)
        if self._precision.is_reduced and overflowed.any():
            log.warning("The VAE overflows in %s: it decodes in float32 from now on.", dtype_name(self.dtype))
            self._precision.restore_float32()
            signed[overflowed] = self._decode(scaled[overflowed])
        signed[~finite_rows(signed)] = torch.nan
        return signed_to_pixels(signed)

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return signed pixels (N,3,H,W), in float32, of the VAE's own latents (N,C,h,w)."""
        signed: torch.Tensor = self.vae.decode(latents.to(self.dtype), return_dict=False)[0]
        return signed.float()


def _needs_float32(vae: Any, dtype: torch.dtype) -> bool:
    """Return whether the VAE's file states that it overflows in this precision, as SDXL's does in float16.

    diffusers fills in `force_upcast` for files that do not state it; only a stated value counts.
    """
    config = vae.config
    stated = bool(config.get("force_upcast")) and "force_upcast" not in config.get("_use_default_values", ())
    return stated and dtype == torch.float16
