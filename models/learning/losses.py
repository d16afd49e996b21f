"""Diffusion losses: one paper, one function. Samples are the first dimension everywhere; every loss is a scalar.

alphas_cumprod: (T,) the product of the noise schedule, so that x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]


def noised(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Return x_t, (N,...) like `latents`: a draw from the forward process (Ho et al. 2020, eq. 4)."""
    alpha, sigma = signal_and_noise(timesteps, alphas_cumprod, latents)
    return alpha * latents + sigma * noise


def target(
    latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, prediction_type: PredictionType
) -> Tensor:
    """Return what the network should predict, (N,...): the noise (Ho et al. 2020), v (Salimans and Ho 2022), or x_0."""
    alpha, sigma = signal_and_noise(timesteps, alphas_cumprod, latents)
    match prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return alpha * noise - sigma * latents
        case "sample":
            return latents


def min_snr_weights(timesteps: Tensor, alphas_cumprod: Tensor, gamma: float, prediction_type: PredictionType) -> Tensor:
    """Return (N,) weights that bound the pull of nearly clean timesteps: min-SNR-gamma (Hang et al. 2023, section 3.4).

    The bound min(SNR, gamma) is on the error in x_0; noise and v are brought there by 1 / SNR and 1 / (SNR + 1).
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


def denoising_loss(prediction: Tensor, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared error, each sample by its weight (Ho et al. 2020, eq. 14, where all weigh 1)."""
    errors = (prediction - wanted).square().flatten(1).mean(1)
    return (errors if weights is None else errors * weights).mean()


def prior_preservation_loss(
    prediction: Tensor, wanted: Tensor, instances: int, prior_weight: float, weights: Tensor | None = None
) -> Tensor:
    """Return the instance loss plus `prior_weight` times the class loss (Ruiz et al. 2022, eq. 2).

    The first `instances` samples show the product, the rest are class images; without any, only the first term is left.
    """
    shown = denoising_loss(prediction[:instances], wanted[:instances], None if weights is None else weights[:instances])
    if prediction.shape[0] == instances:
        return shown
    prior = denoising_loss(prediction[instances:], wanted[instances:], None if weights is None else weights[instances:])
    return shown + prior_weight * prior


def settled(losses: Tensor, window: int = 31, threshold: float = 0.15) -> bool:
    """Tell whether learning has stopped moving: DVAR (Voronov et al. 2023, section 4.2).

    losses: (K,) of one fixed batch (same images, noise and timesteps), measured at regular steps. Their variance over
    the last `window`, against that over all, falls below `threshold` once only jitter is left.
    """
    if losses.numel() < 2 * window:
        return False
    recent, overall = losses[-window:].double().var(), losses.double().var()
    return bool(recent < threshold * overall)


def signal_and_noise(timesteps: Tensor, alphas_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(a_t) and sqrt(1 - a_t), each (N,1,...) in the type of `like` and with its number of dimensions."""
    shape = (-1,) + (1,) * (like.dim() - 1)
    signal = alphas_cumprod[timesteps].reshape(shape)
    signal = signal.to(torch.promote_types(signal.dtype, like.dtype))
    return torch.sqrt(signal).to(like.dtype), torch.sqrt(1 - signal).to(like.dtype)
