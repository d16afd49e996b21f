"""Tiny random networks in the real file formats, so tests run the loaders on files like those of users.

The networks are seeded: two calls write equal files. Most tests use `family(folder)`, a StudioPlan that renders in less
than a second.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.briefs import StudioPlan

WORDS = 600
SIZE = 32


def family(folder: Path, **plan: Any) -> StudioPlan:
    """Write diffusion (SD 1.5), CLIP and SwinIR weights to `folder`, unless it has them; return a plan that uses them."""
    sd15_folder(folder / "diffusion")
    clip_folder(folder / "clip")
    swinir_file(folder / "swinir.safetensors")
    return StudioPlan(
        **{
            "diffusion": str(folder / "diffusion"),
            "reranking": str(folder / "clip"),
            "upscaling": str(folder / "swinir.safetensors"),
            "device": "cpu",
            "steps": 2,
            "size": SIZE,
            "bucket": 4,
            "threads": 1,
        }
        | plan
    )


def sd15_folder(folder: Path) -> Path:
    """Write a diffusers folder of StableDiffusionPipeline: 8x8 latents, pictures of 32x32 pixels."""
    if folder.is_dir():
        return folder
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    torch.manual_seed(1)
    pipeline = StableDiffusionPipeline(
        unet=_unet(),
        vae=_vae(),
        text_encoder=_text_encoder(),
        tokenizer=_tokenizer(folder.parent / "words"),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def sdxl_folder(folder: Path) -> Path:
    """Write a diffusers folder of StableDiffusionXLPipeline."""
    if folder.is_dir():
        return folder
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    torch.manual_seed(2)
    tokenizer = _tokenizer(folder.parent / "words")
    pipeline = StableDiffusionXLPipeline(
        unet=_unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
        ),
        vae=_vae(force_upcast=True, scaling_factor=0.13025),
        text_encoder=_text_encoder(),
        text_encoder_2=_text_encoder(projection=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def dino_folder(folder: Path, kind: str = "dinov2") -> Path:
    """Write a transformers folder of a vision transformer. kind: `dinov2`, or `vit` as in the first release of DINO."""
    if folder.is_dir():
        return folder
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    torch.manual_seed(4)
    words = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    if kind == "vit":
        model = ViTModel(ViTConfig(intermediate_size=64, **words), add_pooling_layer=False)
    else:
        model = Dinov2Model(Dinov2Config(**words))
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def clip_folder(folder: Path) -> Path:
    """Write an open_clip folder (`local-dir:`) with its own small vocabulary."""
    if folder.is_dir():
        return folder
    import open_clip

    torch.manual_seed(3)
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": WORDS,
            "width": 32,
            "heads": 2,
            "layers": 2,
            "hf_tokenizer_name": "own",
        },
    }
    model = open_clip.CLIP(**config)
    _tokenizer(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


SWINIR = {"window_size": 8, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "mlp_ratio": 2, "img_size": 64}
SWINIR_KINDS: dict[str, dict[str, Any]] = {
    "classical": {"upsampler": "pixelshuffle", "upscale": 4},
    "real": {"upsampler": "nearest+conv", "upscale": 4},
    "large": {"upsampler": "nearest+conv", "upscale": 4, "resi_connection": "3conv"},
    "light": {"upsampler": "pixelshuffledirect", "upscale": 4},
    "classical-2": {"upsampler": "pixelshuffle", "upscale": 2},
    "classical-3": {"upsampler": "pixelshuffle", "upscale": 3},
    "classical-8": {"upsampler": "pixelshuffle", "upscale": 8},
    "real-2": {"upsampler": "nearest+conv", "upscale": 2},
    "light-2": {"upsampler": "pixelshuffledirect", "upscale": 2},
    "light-3": {"upsampler": "pixelshuffledirect", "upscale": 3},
}
"""The layouts of the published super-resolution files; the scale is 4 unless the name has another."""


def swinir_state(kind: str = "light") -> dict[str, torch.Tensor]:
    """Return the tensors of basicsr's SwinIR of a kind, masks included, as in an official file."""
    state = {key: value.contiguous() for key, value in swinir_network(kind).state_dict().items()}
    return {key: value for key, value in state.items() if kind != "real-2" or not key.startswith("conv_up2.")}


def swinir_network(kind: str = "light") -> torch.nn.Module:
    """Return basicsr's own SwinIR with seeded random weights."""
    from models.rendering import swinir

    torch.manual_seed(4)
    architecture = SWINIR_KINDS[kind] | ({"upscale": 4} if kind == "real-2" else {})  # basicsr knows no other scale
    with warnings.catch_warnings(action="ignore"):  # basicsr calls meshgrid without `indexing`
        network = swinir.swinir_class()(**SWINIR, **architecture)
    for name, parameter in network.named_parameters():
        if "relative_position_bias_table" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return network


def swinir_file(path: Path, kind: str = "light", wrapper: str | None = None) -> Path:
    """Write a SwinIR file.

    wrapper: the key of the tensors in a `.pth` file, `params` or `params_ema`; None writes them at the top level.
    """
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    state = swinir_state(kind)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({wrapper: state} if wrapper else state, path)
    return path


def _unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 1,
            "block_out_channels": (32, 32),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            "norm_num_groups": 8,
        }
        | changes
    )


def _vae(**changes: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        **{
            "block_out_channels": (16, 16, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "latent_channels": 4,
            "norm_num_groups": 8,
            "sample_size": 32,
        }
        | changes
    )


def _text_encoder(projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=WORDS - 2,
        eos_token_id=WORDS - 1,
        pad_token_id=WORDS - 1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def _tokenizer(folder: Path) -> Any:
    """Write and return a tokenizer with CLIP's byte-level vocabulary and only the first merges; it encodes any text."""
    from transformers import CLIPTokenizer

    from models.weights import vocabulary

    folder.mkdir(parents=True, exist_ok=True)
    whole = json.loads((vocabulary.clip_vocabulary() / "vocab.json").read_text())
    pieces = [*list(whole)[: WORDS - 2], "<|startoftext|>", "<|endoftext|>"]
    merges = (vocabulary.clip_vocabulary() / "merges.txt").read_text().splitlines()
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(merges[: 1 + WORDS - 512 - 2]) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    tokenizer.save_pretrained(folder)
    return tokenizer
