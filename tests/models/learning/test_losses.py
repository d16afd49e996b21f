"""Losses and their gradients equal the published formulas, written out sample by sample, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.learning import losses

GAMMA = 5.0


@pytest.fixture(scope="module")
def alphas_cumprod() -> torch.Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 4, 3, padding=1)).double()


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(count, 4, 6, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, 4, 6, 6, generator=generator, dtype=torch.float64)
    return latents, noise, torch.randint(0, 1000, (count,), generator=generator)


def plain_loss(model, latents, noise, timesteps, alphas_cumprod, kind, instances, prior_weight, gamma):
    """Compute the loss sample by sample, as the papers write it."""
    per_sample = []
    for x0, eps, t in zip(latents, noise, timesteps.tolist(), strict=True):
        a = float(alphas_cumprod[t])
        alpha, sigma = math.sqrt(a), math.sqrt(1 - a)
        xt = alpha * x0 + sigma * eps
        target = {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[kind]
        difference = model(xt[None])[0] - target
        error = sum(value**2 for value in difference.reshape(-1)) / difference.numel()
        if gamma is not None:
            snr = alpha**2 / sigma**2
            error = (
                error
                * {
                    "epsilon": min(snr, gamma) / snr,
                    "v_prediction": min(snr, gamma) / (snr + 1),
                    "sample": min(snr, gamma),
                }[kind]
            )
        per_sample.append(error)
    instance_loss = sum(per_sample[:instances]) / instances
    if instances == len(per_sample):
        return instance_loss
    return instance_loss + prior_weight * sum(per_sample[instances:]) / (len(per_sample) - instances)


@pytest.mark.parametrize("gamma", [None, GAMMA])
@pytest.mark.parametrize(("count", "instances", "prior_weight"), [(3, 3, 1.0), (5, 2, 1.0), (4, 2, 0.25)])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_loss_and_gradients_equal_the_published_formula(kind, count, instances, prior_weight, gamma, alphas_cumprod):
    latents, noise, timesteps = batch(count)
    model = network()
    target = losses.prediction_target(latents, noise, timesteps, alphas_cumprod, kind)
    weights = None if gamma is None else losses.min_snr_weights(timesteps, alphas_cumprod, gamma, kind)
    predicted = model(losses.add_noise(latents, noise, timesteps, alphas_cumprod))
    ours = losses.prior_preservation_loss(predicted, target, instances, prior_weight, weights)
    gradients = torch.autograd.grad(ours, list(model.parameters()))
    plain = plain_loss(model, latents, noise, timesteps, alphas_cumprod, kind, instances, prior_weight, gamma)
    reference = torch.autograd.grad(plain, list(model.parameters()))
    assert torch.allclose(ours, plain, rtol=1e-12)
    for ours_, plain_ in zip(gradients, reference, strict=True):
        assert torch.allclose(ours_, plain_, rtol=1e-10, atol=1e-14)


def test_the_forward_process_and_v_agree_with_diffusers(alphas_cumprod):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents, noise, timesteps = (part.float() if part.is_floating_point() else part for part in batch(4))
    table = scheduler.alphas_cumprod
    assert torch.allclose(table.double(), alphas_cumprod, rtol=1e-4)
    assert torch.allclose(
        losses.add_noise(latents, noise, timesteps, table), scheduler.add_noise(latents, noise, timesteps)
    )
    assert torch.allclose(
        losses.prediction_target(latents, noise, timesteps, table, "v_prediction"),
        scheduler.get_velocity(latents, noise, timesteps),
    )


def test_convergence_is_detected_once_only_jitter_is_left():
    steps = torch.arange(200)
    jitter = 0.01 * torch.randn(200, generator=torch.Generator().manual_seed(1))
    falling = 1 - steps / 100 + jitter
    flattened = torch.exp(-steps / 15) + jitter
    assert not losses.has_converged(falling[:70])
    assert losses.has_converged(flattened)
    assert not losses.has_converged(flattened[:40])
