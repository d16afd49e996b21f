"""Diffusion losses, one function per paper. Samples are the first dimension everywhere; every loss is a scalar.

alphas_cumprod: (T,), the cumulative product of the noise schedule, so x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Return x_t, (N,...) like `latents`: a sample of the forward process (Ho et al. 2020, eq. 4)."""
    alpha, sigma = signal_and_noise(timesteps, alphas_cumprod, latents)
    return alpha * latents + sigma * noise


def prediction_target(
    latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, prediction_type: PredictionType
) -> Tensor:
    """Return the target (N,...): the noise (Ho et al. 2020), v (Salimans and Ho 2022), or x_0."""
    alpha, sigma = signal_and_noise(timesteps, alphas_cumprod, latents)
    match prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return alpha * noise - sigma * latents
        case "sample":
            return latents


def min_snr_weights(timesteps: Tensor, alphas_cumprod: Tensor, gamma: float, prediction_type: PredictionType) -> Tensor:
    """Return (N,) weights that limit the influence of nearly clean timesteps: min-SNR-gamma (Hang et al. 2023, 3.4).

    The weight min(SNR, gamma) applies to the error in x_0. Errors in the noise and in v are errors in x_0 times SNR
    and SNR + 1, so their weights are divided by those.
    """
    signal = alphas_cumprod[timesteps]
    snr = signal / (1 - signal)
    bounded = snr.clamp(max=gamma)
    match prediction_type:
        case "epsilon":
            return bounded / snr
        case "v_prediction":
            return bounded / (snr + 1)
        case "sample":
            return bounded


def denoising_loss(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared error, weighted per sample (Ho et al. 2020, eq. 14, in which all weights are 1)."""
    errors = (predicted - target).square().flatten(1).mean(1)
    return (errors if weights is None else errors * weights).mean()


def prior_preservation_loss(
    predicted: Tensor, target: Tensor, instances: int, prior_weight: float, weights: Tensor | None = None
) -> Tensor:
    """Return the instance loss plus `prior_weight` times the class loss (Ruiz et al. 2022, eq. 2).

    The first `instances` samples show the product, the rest are class images. Without class images the loss is the
    instance loss.
    """
    first, rest = slice(None, instances), slice(instances, None)
    instance_loss = denoising_loss(predicted[first], target[first], None if weights is None else weights[first])
    if predicted.shape[0] == instances:
        return instance_loss
    class_loss = denoising_loss(predicted[rest], target[rest], None if weights is None else weights[rest])
    return instance_loss + prior_weight * class_loss


def has_converged(losses: Tensor, window: int = 31, threshold: float = 0.15) -> bool:
    """Return whether training has converged, by DVAR (Voronov et al. 2023, section 4.2).

    losses: (K,) of one fixed batch (same images, noise and timesteps), measured at regular steps. Once only jitter is
    left, the variance of the last `window` is less than `threshold` times the variance of all.
    """
    if losses.numel() < 2 * window:
        return False
    recent, overall = losses[-window:].double().var(), losses.double().var()
    return bool(recent < threshold * overall)


def signal_and_noise(timesteps: Tensor, alphas_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(a_t) and sqrt(1 - a_t), each (N,1,...), with the dtype and number of dimensions of `like`."""
    shape = (-1,) + (1,) * (like.dim() - 1)
    signal = alphas_cumprod[timesteps].reshape(shape)
    signal = signal.to(torch.promote_types(signal.dtype, like.dtype))
    return torch.sqrt(signal).to(like.dtype), torch.sqrt(1 - signal).to(like.dtype)
