"""The scale between a VAE's latents and the UNet's: each direction is the reverse of the other."""

from types import SimpleNamespace

import pytest
import torch

from models.latents import from_vae, to_vae

STATISTICS = {"latents_mean": [0.5, -1.0, 2.0, 0.0], "latents_std": [2.0, 3.0, 1.0, 0.5]}


@pytest.mark.parametrize("stated", [{}, {"shift_factor": 0.1}, STATISTICS, {"latents_mean": [1.0] * 4}])
def test_encoding_is_the_reverse_of_decoding(stated):
    config = SimpleNamespace(scaling_factor=0.18215, **stated)
    latents = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(from_vae(to_vae(latents, config), config), latents, atol=1e-5)
    plain = torch.allclose(to_vae(latents, config), latents / 0.18215)
    assert plain == (not stated or ("latents_std" not in stated and "shift_factor" not in stated))


def test_the_formulas_are_those_of_the_stock_pipelines():
    """StableDiffusion3Pipeline for the shift, StableDiffusionXLPipeline for the statistics."""
    latents = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    shifted = SimpleNamespace(scaling_factor=1.5305, shift_factor=0.0609)
    assert torch.allclose(to_vae(latents, shifted), latents / 1.5305 + 0.0609)
    mean, deviation = (torch.tensor(values).view(1, 4, 1, 1) for values in STATISTICS.values())
    found = to_vae(latents, SimpleNamespace(scaling_factor=0.5, **STATISTICS))
    assert torch.allclose(found, latents * deviation / 0.5 + mean, atol=1e-6)


def test_latents_leave_half_precision_before_they_are_scaled():
    scaled = to_vae(torch.ones(1, 4, 1, 1).half(), SimpleNamespace(scaling_factor=1e-6))
    assert torch.allclose(scaled, torch.full((1, 4, 1, 1), 1e6))
