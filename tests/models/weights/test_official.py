"""The full-size published architectures through our own loading code, on the meta device (no memory).

The parameter counts are the published ones.
"""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models.rendering import reranking, swinir
from models.weights import single_file
from models.weights.checkpoints import fill, init_empty_weights


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("kind", "unet", "text", "second"),
    [
        ("sd15", 859_520_964, 123_060_480, None),
        ("sd21", 865_910_724, 340_387_840, None),
        ("sdxl", 2_567_463_684, 123_060_480, 694_659_840),
    ],
)
def test_stable_diffusion(kind, unet, text, second):
    with init_empty_weights(include_buffers=False):
        assert count(UNet2DConditionModel.from_config(single_file.published_config(kind, "unet"))) == unet
        assert count(AutoencoderKL.from_config(single_file.published_config(kind, "vae"))) == 83_653_863
        assert count(CLIPTextModel(CLIPTextConfig(**single_file.published_config(kind, "text_encoder")))) == text
        if second:
            config = CLIPTextConfig(**single_file.published_config(kind, "text_encoder_2"))
            assert count(CLIPTextModelWithProjection(config)) == second


@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_a_full_size_single_file_is_recognised_and_sized(kind):
    """Detect, size, convert and fill from the keys and shapes of a real file, as meta tensors."""
    state = full_size(kind)
    assert single_file.detect_kind(state, "x") == kind
    assert comparable(single_file.unet_config(state, kind)) == comparable(single_file.published_config(kind, "unet"))
    for name in single_file.TEXT_PREFIXES[kind]:
        found, published = single_file.text_config(state, kind, name), single_file.published_config(kind, name)
        keys = (
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "num_hidden_layers",
            "hidden_act",
        )
        assert {key: getattr(found, key) for key in keys} == {key: published[key] for key in keys}
    assert (
        count(single_file._unet(state, kind, "x"))
        == {"sd15": 859_520_964, "sd21": 865_910_724, "sdxl": 2_567_463_684}[kind]
    )
    assert count(single_file._vae(state, kind, "x")) == 83_653_863
    for name in single_file.TEXT_PREFIXES[kind]:
        single_file._text_encoder(state, kind, name, "x")


def comparable(config):
    unused = {"transformer_layers_per_block"}  # the first level has no attention, so its number does not matter
    found = {key: value for key, value in config.items() if key not in unused}
    return found | {"depth": list(config.get("transformer_layers_per_block", [1, 1]))[1:]}


def full_size(kind):
    from tests import tiny_single

    with init_empty_weights(include_buffers=False):
        parts = {"unet": UNet2DConditionModel.from_config(single_file.published_config(kind, "unet"))}
        parts["vae"] = AutoencoderKL.from_config(single_file.published_config(kind, "vae"))
        for name in single_file.TEXT_PREFIXES[kind]:
            network = CLIPTextModelWithProjection if name == "text_encoder_2" else CLIPTextModel
            parts[name] = network(CLIPTextConfig(**single_file.published_config(kind, name)))
    with torch.device("meta"):
        return tiny_single.original(parts, kind)


@pytest.mark.parametrize(
    ("name", "parameters"), [("ViT-H-14", 986_109_441), ("ViT-B-32", 151_277_313), ("RN50", 102_007_137)]
)
def test_open_clip(name, parameters):
    assert count(reranking.meta_network(name)) == parameters


SWINIR_M = {"embed_dim": 180, "depths": [6] * 6, "num_heads": [6] * 6, "resi_connection": "1conv"}
SWINIR_L = {"embed_dim": 240, "depths": [6] * 9, "num_heads": [8] * 9, "resi_connection": "3conv"}


@pytest.mark.parametrize(("size", "parameters"), [(SWINIR_M, 11_715_559), (SWINIR_L, 28_013_059)])
def test_swinir_real(size, parameters):
    official = {
        "upscale": 4,
        "in_chans": 3,
        "img_size": 64,
        "window_size": 8,
        "mlp_ratio": 2,
        "upsampler": "nearest+conv",
    }
    network = swinir.meta_network(official | size)
    state = network.state_dict()
    found = swinir.read_architecture(state, "x")
    assert found == official | size | {"img_size": 16, "qkv_bias": True, "patch_norm": True}
    again = swinir.meta_network(found)
    fill(
        again, {key: value for key, value in state.items() if "attn_mask" not in key} | dict(again.named_buffers()), "x"
    )
    assert count(again) == parameters
