"""Load a single Stable Diffusion file (the layout of the original repositories) without network access.

Its keys and shapes show whether it is SD 1.x, SD 2.x or SDXL, and how wide its networks are. The published
configurations in `configs/` add the settings that shapes do not show: activation, head width, noise schedule.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as layout
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models.errors import WrongArchitecture
from models.weights import vocabulary
from models.weights.checkpoints import StateDict, fill, init_empty_weights, read, read_metadata
from models.weights.library_boundary import architecture_boundary
from models.weights.schedule import ScheduleOverrides, StatedFile, stated_schedule

CONFIGS = Path(__file__).parent / "configs"
UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT_PREFIXES = {
    "sd15": {"text_encoder": "cond_stage_model.transformer."},
    "sd21": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
PLAYGROUND_SCALE = 0.5  # of the latents of a file with edm_mean and edm_std, by its model card
SD2_BASE = 64  # latents of 512 pixels; SD 2.x was trained on 512 for epsilon prediction and on 768 for velocity
PAD_TOKENS = {"sd15": ("<|endoftext|>",), "sd21": ("!",), "sdxl": ("<|endoftext|>", "!")}


def load_parts(
    path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, overrides: ScheduleOverrides
) -> tuple[str, dict[str, Any], str]:
    """Return the pipeline's class name, its parts, and what states its schedule.

    The parts are networks in eval mode, tokenizers, and the scheduler's configuration.
    Raises WeightsNotFound, UnreadableCheckpoint, UnsafeCheckpoint, WrongArchitecture, UnusableSchedule.
    """
    state = read(path, "diffusion")
    kind = detect_kind(state, path.name)
    parts: dict[str, Any] = {
        "unet": _unet(state, kind, path.name),
        "vae": _vae(state, kind, path.name),
        **{name: _text_encoder(state, kind, name, path.name) for name in TEXT_PREFIXES[kind]},
    }
    parts = {name: module.to(vae_dtype if name == "vae" else dtype).eval() for name, module in parts.items()}
    for name, pad in zip(("tokenizer", "tokenizer_2"), PAD_TOKENS[kind], strict=False):
        parts[name] = vocabulary.clip_tokenizer(pad)
    file = StatedFile(state, read_metadata(path), published_config(kind, "scheduler"), path.name)
    with architecture_boundary(path.name, kind):
        parts["scheduler"], source = stated_schedule(
            file, overrides, lambda: guess_prediction_type(kind, parts["unet"])
        )
    if kind == "sd21" and parts["scheduler"]["prediction_type"] == "epsilon":
        parts["unet"].register_to_config(sample_size=SD2_BASE)
    return "StableDiffusionXLPipeline" if kind == "sdxl" else "StableDiffusionPipeline", parts, source


def published_config(kind: str, part: str) -> dict[str, Any]:
    """Return the published configuration of a part. kind: sd15, sd21 or sdxl."""
    content: dict[str, Any] = json.loads((CONFIGS / kind / f"{part}.json").read_text())
    return content


def detect_kind(state: StateDict, path: str) -> str:
    """Return sd15, sd21 or sdxl, by the text encoders in the file. Raises WrongArchitecture."""
    for kind in ("sdxl", "sd21", "sd15"):
        if all(any(key.startswith(prefix) for key in state) for prefix in TEXT_PREFIXES[kind].values()):
            break
    else:
        kind = ""
    if not kind or f"{UNET}input_blocks.0.0.weight" not in state:
        what = (
            "a LoRA or other adapter"
            if any("lora" in key for key in state)
            else "no complete SD 1.x, SD 2.x or SDXL model"
        )
        raise WrongArchitecture(path=path, architecture="Stable Diffusion", detail=f"its keys show {what}")
    return kind


def unet_config(state: StateDict, kind: str) -> dict[str, Any]:
    """Return the published configuration of the UNet, with the widths of the file's tensors."""
    config = published_config(kind, "unet")
    levels = len(config["block_out_channels"])
    per_level = config["layers_per_block"] + 1
    widths = [
        state[f"{UNET}input_blocks.{level * per_level + 1}.0.out_layers.3.weight"].shape[0] for level in range(levels)
    ]
    config["block_out_channels"] = widths
    config["in_channels"] = state[f"{UNET}input_blocks.0.0.weight"].shape[1]
    if isinstance(config["attention_head_dim"], list):
        config["attention_head_dim"] = [max(1, width // 64) for width in widths]
    config["cross_attention_dim"] = _attention(state, "attn2.to_k.weight").shape[1]
    if kind == "sdxl":
        config["transformer_layers_per_block"] = [_depth(state, level * per_level + 1) for level in range(levels)]
        config["projection_class_embeddings_input_dim"] = state[f"{UNET}label_emb.0.0.weight"].shape[1]
        pooled = state["conditioner.embedders.1.model.text_projection"].shape[1]
        config["addition_time_embed_dim"] = (state[f"{UNET}label_emb.0.0.weight"].shape[1] - pooled) // 6
    return config


def text_config(state: StateDict, kind: str, name: str) -> CLIPTextConfig:
    """Return the published configuration of the text encoder, with the widths and depth of the file's tensors."""
    config = published_config(kind, name)
    prefix = TEXT_PREFIXES[kind][name]
    original = prefix.endswith("transformer.")
    tokens = state[f"{prefix}{'text_model.embeddings.' if original else ''}token_embedding.weight"]
    layers = f"{prefix}{'text_model.encoder.layers.' if original else 'transformer.resblocks.'}"
    depth = len({key.removeprefix(layers).split(".")[0] for key in state if key.startswith(layers)})
    feed = state[f"{layers}0.mlp.{'fc1' if original else 'c_fc'}.weight"]
    return CLIPTextConfig(
        **config
        | {
            "vocab_size": tokens.shape[0],
            "hidden_size": tokens.shape[1],
            "num_attention_heads": max(1, tokens.shape[1] // 64),
            "intermediate_size": feed.shape[0],
            # SD 2.x was trained on the second-last layer; diffusers leaves out the unused last one.
            "num_hidden_layers": depth - 1 if kind == "sd21" else depth,
            **({"projection_dim": state[f"{prefix}text_projection"].shape[1]} if name == "text_encoder_2" else {}),
        }
    )


def _unet(state: StateDict, kind: str, path: str) -> UNet2DConditionModel:
    with architecture_boundary(path, kind):
        config = unet_config(state, kind)
        own = {key: value for key, value in state.items() if key.startswith(UNET)}
        with init_empty_weights(include_buffers=False):
            unet = UNet2DConditionModel.from_config(config)
        converted = layout.convert_ldm_unet_checkpoint(own, config)
    return fill(unet, converted, path)


def _vae(state: StateDict, kind: str, path: str) -> AutoencoderKL:
    config = published_config(kind, "vae")
    own = {key: value for key, value in state.items() if key.startswith(VAE)}
    with architecture_boundary(path, "AutoencoderKL"):
        levels = range(len(config["block_out_channels"]))
        config["block_out_channels"] = [
            own[f"{VAE}encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in levels
        ]
        with init_empty_weights(include_buffers=False):
            vae = AutoencoderKL.from_config(config)
        converted = layout.convert_ldm_vae_checkpoint(own, config)
        vae.register_to_config(**_latent_statistics(state))
    return fill(vae, {key: value for key, value in converted.items() if value is not None}, path)


def _latent_statistics(state: StateDict) -> dict[str, Any]:
    """Return the VAE's settings for latents with statistics per channel, as Playground 2.5 stores them."""
    if not {"edm_mean", "edm_std"} <= state.keys():
        return {}
    mean, deviation = (state[name].float().flatten().tolist() for name in ("edm_mean", "edm_std"))
    return {"latents_mean": mean, "latents_std": deviation, "scaling_factor": PLAYGROUND_SCALE}


def _text_encoder(state: StateDict, kind: str, name: str, path: str) -> CLIPTextModel | CLIPTextModelWithProjection:
    prefix = TEXT_PREFIXES[kind][name]
    with architecture_boundary(path, name):
        config = text_config(state, kind, name)
        with init_empty_weights(include_buffers=False):
            encoder = (CLIPTextModelWithProjection if name == "text_encoder_2" else CLIPTextModel)(config)
        own = {key: value for key, value in state.items() if key.startswith(prefix)}
        if prefix.endswith("transformer."):
            converted = layout.convert_ldm_clip_checkpoint(own)
        else:
            converted = layout.convert_open_clip_checkpoint(encoder, own, prefix=prefix)
    return fill(encoder, _rename_like(encoder, converted), path)


def _rename_like(encoder: torch.nn.Module, converted: StateDict) -> StateDict:
    """Return the encoder's tensors under its names, with or without `text_model.`, which transformers 5.6 dropped."""
    names = encoder.state_dict().keys()
    bare = {key.removeprefix("text_model."): value for key, value in converted.items()}
    if any(key.startswith("text_model.") for key in names):
        bare = {key if key == "text_projection.weight" else f"text_model.{key}": value for key, value in bare.items()}
    return {key: value for key, value in bare.items() if key in names}


def _attention(state: StateDict, ending: str) -> torch.Tensor:
    for key, value in state.items():
        if key.startswith(UNET) and key.endswith(ending):
            return value
    raise KeyError(f"{UNET}...{ending}")


def _depth(state: StateDict, block: int) -> int:
    """Return the number of transformer layers of an input block's attention; 1 (unused) if it has no attention."""
    prefix = f"{UNET}input_blocks.{block}.1.transformer_blocks."
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}) or 1


def guess_prediction_type(kind: str, unet: UNet2DConditionModel) -> str:
    """Return `epsilon` or `v_prediction` for a file that states neither. In SD 2.x the UNet runs once to find out.

    At the noisiest step an epsilon model returns about its input, a velocity model about the negative picture.
    """
    if kind != "sd21":
        return "epsilon"
    latents = torch.full((1, unet.config.in_channels, 8, 8), 0.5, dtype=unet.dtype)
    context = torch.full((1, 1, unet.config.cross_attention_dim), 0.5, dtype=unet.dtype)
    with torch.inference_mode():
        output = unet(latents, 999, encoder_hidden_states=context).sample
    return "v_prediction" if (output - latents).float().mean().item() < -1 else "epsilon"
