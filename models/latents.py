"""The scale between a VAE's latents and those that the UNet works on. `config` is the VAE's configuration.

A VAE states a scaling factor, and may state a shift (`shift_factor`) and statistics per channel (`latents_mean` and
`latents_std`). Decoding follows StableDiffusionXLPipeline for the statistics, and StableDiffusion3Pipeline for the
shift; encoding is the reverse.
"""

from __future__ import annotations

from typing import Any

import torch


def from_vae(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Return the UNet's latents (N,C,h,w) of a VAE's, in float32."""
    latents = latents.float() - _shift(config)
    if (statistics := _statistics(config, latents)) is not None:
        mean, deviation = statistics
        latents = (latents - mean) / deviation
    return latents * float(config.scaling_factor)


def to_vae(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Return the VAE's latents (N,C,h,w) of the UNet's, in float32."""
    latents = latents.float() / float(config.scaling_factor)
    if (statistics := _statistics(config, latents)) is not None:
        mean, deviation = statistics
        latents = latents * deviation + mean
    return latents + _shift(config)


def _shift(config: Any) -> float:
    return float(getattr(config, "shift_factor", None) or 0.0)


def _statistics(config: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return mean and standard deviation per channel, (1,C,1,1) each, or None if the VAE does not state both."""
    stated = [getattr(config, name, None) for name in ("latents_mean", "latents_std")]
    if any(values is None for values in stated):
        return None
    mean, deviation = (
        torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1) for values in stated
    )
    return mean, deviation
