"""Tiny single files in the layout of the original Stable Diffusion repositories, written from diffusers networks.

`models.weights.single_file` converts in the other direction with separate code, so an error in one shows in the tests.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]

WIDTHS = {"sd15": (32, 64, 64, 64), "sd21": (32, 64, 64, 64), "sdxl": (32, 64, 64)}
TEXT_WIDTH = {"text_encoder": 32, "text_encoder_2": 64}


def networks(kind: str) -> dict[str, Any]:
    """Return seeded random networks of a kind (sd15, sd21, sdxl): the published architecture with few channels."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from models.weights.single_file import published_config

    torch.manual_seed(5)
    names = ["text_encoder", "text_encoder_2"] if kind == "sdxl" else ["text_encoder"]
    context = sum(TEXT_WIDTH[name] for name in names)
    widths = WIDTHS[kind]
    unet = published_config(kind, "unet") | {"block_out_channels": widths, "cross_attention_dim": context}
    if kind != "sd15":
        unet["attention_head_dim"] = [1] * len(widths)
    if kind == "sdxl":
        unet |= {"transformer_layers_per_block": [1, 1, 2], "addition_time_embed_dim": 8}
        unet["projection_class_embeddings_input_dim"] = 64 + 6 * 8
    vae = published_config(kind, "vae") | {"block_out_channels": (32, 32, 32, 32)}
    parts: dict[str, Any] = {"unet": UNet2DConditionModel.from_config(unet), "vae": AutoencoderKL.from_config(vae)}
    for name in names:
        width = TEXT_WIDTH[name]
        small = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
        config = CLIPTextConfig(**published_config(kind, name) | small | {"projection_dim": 64})
        parts[name] = (CLIPTextModelWithProjection if name == "text_encoder_2" else CLIPTextModel)(config)
    return {name: part.eval() for name, part in parts.items()}


def single_file(path: Path, kind: str, **extra: torch.Tensor) -> Path:
    """Write a single file of a kind, with extra tensors; return its path."""
    state = original(networks(kind), kind)
    save_file({key: value.contiguous() for key, value in (state | extra).items()}, path)
    return path


def original(parts: dict[str, Any], kind: str) -> State:
    """Return the tensors of diffusers networks under the names that the original repositories use."""
    state = {f"model.diffusion_model.{key}": value for key, value in _unet(parts["unet"]).items()}
    state |= {f"first_stage_model.{key}": value for key, value in _vae(parts["vae"].state_dict()).items()}
    match kind:
        case "sd15":
            state |= _clip(parts["text_encoder"], "cond_stage_model.transformer.")
        case "sd21":
            state |= _open_clip(parts["text_encoder"], "cond_stage_model.model.", unused_layer=True)
        case "sdxl":
            state |= _clip(parts["text_encoder"], "conditioner.embedders.0.transformer.")
            state |= _open_clip(parts["text_encoder_2"], "conditioner.embedders.1.model.")
    return state


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def _unet(unet: Any) -> State:
    layers = unet.config.layers_per_block
    with_attention = [kind.startswith("Cross") for kind in unet.config.up_block_types]

    def place(key: str) -> str:
        for name, original in _OUTSIDE.items():
            if key.startswith(f"{name}."):
                return key.replace(name, original, 1)
        match key.split("."):
            case ["down_blocks", i, "downsamplers", "0", "conv", end]:
                return f"input_blocks.{(int(i) + 1) * (layers + 1)}.0.op.{end}"
            case ["up_blocks", i, "upsamplers", "0", "conv", end]:
                return f"output_blocks.{int(i) * (layers + 1) + layers}.{2 if with_attention[int(i)] else 1}.conv.{end}"
            case ["down_blocks", i, part, j, *rest]:
                return f"input_blocks.{int(i) * (layers + 1) + int(j) + 1}.{_inner(part, rest)}"
            case ["up_blocks", i, part, j, *rest]:
                return f"output_blocks.{int(i) * (layers + 1) + int(j)}.{_inner(part, rest)}"
            case ["mid_block", "resnets", j, *rest]:
                return f"middle_block.{int(j) * 2}.{_inner('resnets', rest)[2:]}"
            case ["mid_block", "attentions", _, *rest]:
                return f"middle_block.1.{'.'.join(rest)}"
        raise KeyError(key)

    return {place(key): value for key, value in unet.state_dict().items()}


def _inner(part: str, rest: list[str]) -> str:
    if part == "attentions":
        return "1." + ".".join(rest)
    return "0." + ".".join([_RESNET[rest[0]], *rest[1:]])


def _vae(state: State) -> State:
    def place(key: str) -> str:
        key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda found: f"up.{3 - int(found[1])}.block.", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda found: f"up.{3 - int(found[1])}.upsample.", key)
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
        for name, original in (
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
            ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
            ("mid_block.attentions.0.to_", "mid.attn_1."),
            ("conv_norm_out", "norm_out"),
            ("conv_shortcut", "nin_shortcut"),
        ):
            key = key.replace(name, original)
        return key

    placed = {place(key): value for key, value in state.items()}
    return {key: _as_convolution(key, value) for key, value in placed.items()}


def _as_convolution(key: str, value: torch.Tensor) -> torch.Tensor:
    return value[:, :, None, None] if "attn_1" in key and value.ndim == 2 else value


def _clip(encoder: Any, prefix: str) -> State:
    bare = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    state = {f"{prefix}text_model.{key}": value for key, value in bare.items()}
    return state | {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}


_BLOCK = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def _open_clip(encoder: Any, prefix: str, unused_layer: bool = False) -> State:
    bare = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    width = encoder.config.hidden_size
    state = {
        "positional_embedding": bare["embeddings.position_embedding.weight"],
        "token_embedding.weight": bare["embeddings.token_embedding.weight"],
        "ln_final.weight": bare["final_layer_norm.weight"],
        "ln_final.bias": bare["final_layer_norm.bias"],
        "text_projection": bare["text_projection.weight"].T if "text_projection.weight" in bare else torch.eye(width),
        "logit_scale": torch.tensor(4.6),
    }
    depth = encoder.config.num_hidden_layers
    for layer in range(depth + unused_layer):
        own, target = f"encoder.layers.{min(layer, depth - 1)}.", f"transformer.resblocks.{layer}."
        for end in ("weight", "bias"):
            parts = [bare[f"{own}self_attn.{part}_proj.{end}"] for part in "qkv"]
            state[f"{target}attn.in_proj_{end}"] = torch.cat(parts)
            state[f"{target}attn.out_proj.{end}"] = bare[f"{own}self_attn.out_proj.{end}"]
            for name, original in _BLOCK.items():
                state[f"{target}{original}.{end}"] = bare[f"{own}{name}.{end}"]
    # safetensors refuses tensors that share memory, as those of the unused layer do
    return {f"{prefix}{key}": value.clone() for key, value in state.items()}
