"""Load Stable Diffusion from a diffusers folder or a single file into a diffusers pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from models.errors import WeightsNotFound, WrongArchitecture
from models.weights import checkpoints, single_file, vocabulary
from models.weights.catalog import Weights
from models.weights.library_boundary import architecture_boundary

Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

_NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
PIPELINES = {cls.__name__: cls for cls in (StableDiffusionPipeline, StableDiffusionXLPipeline)}
NETWORKS = {
    cls.__name__: cls
    for cls in (UNet2DConditionModel, AutoencoderKL, AutoencoderTiny, CLIPTextModel, CLIPTextModelWithProjection)
}


def load(weights: Weights, dtype: torch.dtype) -> Pipeline:
    """Return the pipeline of the weights on the CPU, in eval mode, with the scheduler that the weights name.

    Raises WeightsNotFound, WrongArchitecture, UnsafeCheckpoint, UnreadableCheckpoint.
    """
    name, parts = (folder_parts if weights.path.is_dir() else single_file.load_parts)(weights.path, dtype)
    kind: Any = PIPELINES.get(name)
    if kind is None:
        detail = f"it is a {name}, not a Stable Diffusion 1.x, 2.x or XL text-to-image folder"
        raise WrongArchitecture(path=weights.path.name, architecture="Stable Diffusion", detail=detail)
    _check_text_only(parts, weights.path.name)
    extra = {"add_watermarker": False} if kind is StableDiffusionXLPipeline else _NO_CHECKER
    with architecture_boundary(f"{weights.path.name}/scheduler", "a diffusers scheduler"):
        parts["scheduler"] = scheduler(parts["scheduler"])
    with architecture_boundary(weights.path.name, name):
        pipeline: Pipeline = kind(**parts, **extra)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def scheduler(config: dict[str, Any]) -> SchedulerMixin:
    """Return the scheduler of a configuration; DPM-Solver++ if its class is unknown."""
    named: Any = getattr(diffusers, str(config.get("_class_name")), None)
    is_scheduler = isinstance(named, type) and issubclass(named, SchedulerMixin)
    chosen: SchedulerMixin = (named if is_scheduler else DPMSolverMultistepScheduler).from_config(config)
    return chosen


def native_size(pipeline: Pipeline) -> int:
    """Return the side in pixels of the squares that the weights were trained on. Raises WrongArchitecture."""
    side = pipeline.unet.config.sample_size
    if not isinstance(side, int) or side < 1:
        detail = f"its UNet's sample_size is {side}, not one number; set CREATIVES_STUDIO__SIZE to its training size"
        raise WrongArchitecture(path="unet/config.json", architecture="a square picture", detail=detail)
    return int(side * pipeline.vae_scale_factor)


def folder_parts(folder: Path, dtype: torch.dtype) -> tuple[str, dict[str, Any]]:
    """Return the pipeline's class name and its parts; no parts if it is not a text-to-image pipeline."""
    index = _read_json(folder / "model_index.json", folder)
    name = str(index.get("_class_name", "pipeline without a name"))
    if name not in PIPELINES:
        return name, {}
    parts = {part: _load_part(folder / part, index, dtype) for part in _required_parts(PIPELINES[name])}
    return name, parts | {"scheduler": _read_json(folder / "scheduler" / "scheduler_config.json", folder)}


def _required_parts(kind: type[Pipeline]) -> tuple[str, ...]:
    common = ("unet", "vae", "text_encoder", "tokenizer")
    return common if kind is StableDiffusionPipeline else (*common, "text_encoder_2", "tokenizer_2")


def _load_part(folder: Path, index: dict[str, Any], dtype: torch.dtype) -> Any:
    if not folder.is_dir():
        raise WeightsNotFound(role="diffusion", reference=folder.parent.name, hint=f"it has no folder {folder.name}.")
    if folder.name.startswith("tokenizer"):
        return _load_tokenizer(folder)
    match index.get(folder.name):
        case [_, str(declared)]:
            detail = f"its {folder.name} is a {declared}, which this service cannot load"
        case declared:
            detail = f"model_index.json has {json.dumps(declared)[:80]} for {folder.name}, not its library and class"
    network = NETWORKS.get(declared) if isinstance(declared, str) else None
    if network is None:
        raise WrongArchitecture(path=folder.parent.name, architecture="Stable Diffusion", detail=detail)
    return _load_network(network, folder, dtype)


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    if not ((folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()):
        hint = f"its {folder.name} holds no vocabulary (vocab.json and merges.txt, or tokenizer.json)."
        raise WeightsNotFound(role="diffusion", reference=folder.parent.name, hint=hint)
    with architecture_boundary(f"{folder.parent.name}/{folder.name}", "CLIP's tokenizer"):
        return vocabulary.folder_tokenizer(folder)


def _load_network(network: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load one network. Raises WrongArchitecture if a key is missing, unknown or of another shape.

    Torch files are first read once as tensors only, so that UnsafeCheckpoint names a file with code in it.
    """
    files = sorted(folder.glob("*.safetensors"))
    for path in [] if files else sorted(folder.glob("*.bin")):
        checkpoints.read(path, "diffusion")
    variant = "fp16" if files and all(".fp16" in path.name for path in files) else None
    with architecture_boundary(f"{folder.parent.name}/{folder.name}", network.__name__):
        module, report = network.from_pretrained(
            folder,
            torch_dtype=dtype,
            variant=variant,
            use_safetensors=bool(files),
            local_files_only=True,
            output_loading_info=True,
        )
    _check_report(report, network, folder)
    return module.eval()


def _check_report(report: dict[str, Any], network: type, folder: Path) -> None:
    missing = sorted(report["missing_keys"])
    ignored = ("position_ids",)
    unexpected = sorted(key for key in report["unexpected_keys"] if not key.endswith(ignored))
    mismatched = sorted(str(key) for key in report["mismatched_keys"])
    for kind, keys in (("no", missing), ("an unknown", unexpected), ("another shape of", mismatched)):
        if keys:
            path = f"{folder.parent.name}/{folder.name}"
            raise WrongArchitecture(path=path, architecture=network.__name__, detail=f"it has {kind} {keys[0]}")


def _check_text_only(parts: dict[str, Any], path: str) -> None:
    with architecture_boundary(path, "text-to-image"):
        channels, latents = parts["unet"].config.in_channels, parts["vae"].config.latent_channels
    if channels != latents:
        detail = f"its UNet takes {channels} channels, not {latents}: it is made for inpainting or editing"
        raise WrongArchitecture(path=path, architecture="text-to-image", detail=detail)


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"{path.relative_to(folder)} is missing; a diffusers folder or a single .safetensors file is needed."
        raise WeightsNotFound(role="diffusion", reference=folder.name, hint=hint) from error
    except ValueError as error:
        detail = f"{path.relative_to(folder)} is not JSON; download it again"
        raise WrongArchitecture(path=folder.name, architecture="Stable Diffusion", detail=detail) from error
    if not isinstance(content, dict):
        detail = f"{path.relative_to(folder)} holds {json.dumps(content)[:40]}, not an object; download it again"
        raise WrongArchitecture(path=folder.name, architecture="Stable Diffusion", detail=detail)
    return content
