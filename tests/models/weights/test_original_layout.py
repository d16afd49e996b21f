"""The names of the original repository: those of published files, and both conversions."""

from __future__ import annotations

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from models.errors import WrongArchitecture
from models.weights.original_layout import is_original, original_state, split_original
from models.weights.single_file import published_config
from tests import tiny

PUBLISHED = (
    "model.diffusion_model.time_embed.0.weight",
    "model.diffusion_model.input_blocks.1.0.emb_layers.1.bias",
    "model.diffusion_model.input_blocks.3.0.op.weight",
    "model.diffusion_model.input_blocks.4.0.skip_connection.weight",
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.middle_block.1.proj_in.weight",
    "model.diffusion_model.middle_block.2.out_layers.3.weight",
    "model.diffusion_model.output_blocks.2.1.conv.weight",
    "model.diffusion_model.output_blocks.8.2.conv.bias",
    "model.diffusion_model.output_blocks.11.1.norm.weight",
    "model.diffusion_model.out.2.bias",
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
    "cond_stage_model.transformer.text_model.encoder.layers.11.self_attn.k_proj.weight",
)


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_names_are_the_published_ones_and_convert_back(kind):
    with init_empty_weights(include_buffers=False):
        unet = UNet2DConditionModel.from_config(published_config(kind, "unet"))
        text_encoder = CLIPTextModel(CLIPTextConfig(**published_config(kind, "text_encoder")))
    state = original_state(unet, text_encoder)
    assert len(state) == 686 + len(text_encoder.state_dict())
    assert set(PUBLISHED) <= state.keys()
    own, text = split_original(state, unet, text_encoder)
    for found, module in ((own, unet), (text, text_encoder)):
        wanted = module.state_dict()
        assert found.keys() == wanted.keys()
        assert all(found[name].shape == value.shape for name, value in wanted.items())
    assert is_original(state)
    assert not is_original(unet.state_dict())


def test_values_are_neither_mixed_up_nor_changed():
    unet, text_encoder = tiny._unet(), tiny._text_encoder()
    own, text = split_original(original_state(unet, text_encoder), unet, text_encoder)
    assert all(torch.equal(own[name], value) for name, value in unet.state_dict().items())
    assert all(torch.equal(text[name], value) for name, value in text_encoder.state_dict().items())


def test_a_unet_of_another_family_is_refused():
    words = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    unet = tiny._unet(**words, projection_class_embeddings_input_dim=80)
    with pytest.raises(WrongArchitecture, match="add_embedding"):
        original_state(unet, tiny._text_encoder())
    with pytest.raises(WrongArchitecture, match="it has no label_emb"):
        split_original(original_state(tiny._unet(), tiny._text_encoder()), unet, tiny._text_encoder())
