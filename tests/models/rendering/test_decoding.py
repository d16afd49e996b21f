"""Decoding in half precision, and what happens if the VAE overflows in it."""

import copy
import logging

import pytest
import torch

from models.rendering.decoding import Decoder
from tests import tiny

LATENTS = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(1)
    return tiny._vae().eval()


@pytest.fixture
def overflowing(vae):
    """Return a VAE that is sound in float32, and overflows in float16 as those of some SD 1.x fine-tunes do."""
    changed = copy.deepcopy(vae)
    for value in changed.decoder.conv_in.parameters():
        value.data *= 1e6
    return changed


@torch.inference_mode()
def decode(network, dtype, latents=LATENTS):
    decoder = Decoder(copy.deepcopy(network), dtype)
    return decoder, decoder.decode(latents)


def test_an_overflowing_vae_decodes_in_float32_from_then_on(overflowing, caplog):
    caplog.set_level(logging.WARNING, "models")
    _, expected = decode(overflowing, torch.float32)
    decoder, found = decode(overflowing, torch.float16)
    assert torch.allclose(found, expected, atol=1e-6)
    assert decoder.dtype == torch.float32
    notes = [record.getMessage() for record in caplog.records if record.name.startswith("models")]
    assert notes == ["The VAE overflows in float16: it decodes in float32 from now on."]
    with torch.inference_mode():
        assert torch.equal(decoder.decode(LATENTS), expected)
    assert len([record for record in caplog.records if record.name.startswith("models")]) == 1


def test_the_pixels_keep_the_layout_of_the_network(vae):
    """Another layout in memory would change the last digits of CLIP's scores."""
    network = copy.deepcopy(vae).to(memory_format=torch.channels_last)
    _, found = decode(network, torch.float32)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_sound_vae_stays_in_its_precision(vae):
    for dtype, tolerance in ((torch.float16, 0.005), (torch.bfloat16, 0.05)):
        decoder, found = decode(vae, dtype)
        assert decoder.dtype == dtype
        assert (found - decode(vae, torch.float32)[1]).abs().max() < tolerance


def test_latents_that_are_not_finite_lose_their_own_picture_alone(vae):
    latents = LATENTS.clone()
    latents[1, 0, 0, 0] = float("nan")
    decoder, found = decode(vae, torch.float16, latents)
    assert decoder.dtype == torch.float16
    assert found[1].isnan().all()
    assert torch.allclose(found[[0, 2]], decode(vae, torch.float16)[1][[0, 2]])


def test_a_picture_that_is_not_finite_in_float32_is_not_a_number_throughout(vae):
    broken = copy.deepcopy(vae)
    broken.decoder.conv_out.bias.data[0] = float("inf")
    decoder, found = decode(broken, torch.float16)
    assert found.isnan().all()
    assert decoder.dtype == torch.float32


@pytest.mark.parametrize(("stated", "expected"), [(True, torch.float32), (False, torch.float16)])
def test_a_vae_that_states_its_overflow_starts_in_float32(stated, expected):
    """diffusers fills in `force_upcast` for SD 1.x, too; only SDXL's own statement counts."""
    network = tiny._vae(**({"force_upcast": True} if stated else {}))
    assert Decoder(network, torch.float16).dtype == expected
    assert Decoder(network, torch.bfloat16).dtype == torch.bfloat16
