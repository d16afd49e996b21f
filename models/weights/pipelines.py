"""Load Stable Diffusion from a diffusers folder or a single file into a diffusers pipeline."""

from __future__ import annotations

import json
import logging
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
from models.weights.schedule import ScheduleOverrides, check_schedule

log = logging.getLogger(__name__)

Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

AS_STATED = ScheduleOverrides()
_NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
_XL_OPTIONS = ("force_zeros_for_empty_prompt",)  # what model_index.json states beside the parts
PIPELINES = {cls.__name__: cls for cls in (StableDiffusionPipeline, StableDiffusionXLPipeline)}
NETWORKS = {
    cls.__name__: cls
    for cls in (UNet2DConditionModel, AutoencoderKL, AutoencoderTiny, CLIPTextModel, CLIPTextModelWithProjection)
}


def load(
    weights: Weights,
    dtype: torch.dtype,
    vae_dtype: torch.dtype | None = None,
    overrides: ScheduleOverrides = AS_STATED,
) -> Pipeline:
    """Return the pipeline of the weights on the CPU, in eval mode, with the scheduler that the weights state.

    vae_dtype: precision of the VAE; None: `dtype`. The log says which schedule it is, and what states it.
    Raises WeightsNotFound, WrongArchitecture, UnsafeCheckpoint, UnreadableCheckpoint, UnusableSchedule.
    """
    path = weights.path
    load_parts = folder_parts if path.is_dir() else single_file.load_parts
    name, parts, source = load_parts(path, dtype, vae_dtype or dtype, overrides)
    kind: Any = PIPELINES.get(name)
    if kind is None:
        detail = f"it is a {name}, not a Stable Diffusion 1.x, 2.x or XL text-to-image folder"
        raise WrongArchitecture(path=path.name, architecture="Stable Diffusion", detail=detail)
    _check_text_only(parts, path.name)
    config = parts["scheduler"] | overrides.changes()
    check_schedule(config, path.name)
    if kind is StableDiffusionPipeline:
        parts |= _NO_CHECKER
    else:
        parts["add_watermarker"] = False
    with architecture_boundary(f"{path.name}/scheduler", "a diffusers scheduler"):
        parts["scheduler"] = scheduler(config)
    with architecture_boundary(path.name, name):
        pipeline: Pipeline = kind(**parts)
    pipeline.set_progress_bar_config(disable=True)
    changed = f"; settings change {', '.join(overrides.changes())}" if overrides.changes() else ""
    log.info("The noise schedule of %s is that of %s%s.", path.name, source, changed)
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


def folder_parts(
    folder: Path, dtype: torch.dtype, vae_dtype: torch.dtype, _overrides: ScheduleOverrides
) -> tuple[str, dict[str, Any], str]:
    """Return the pipeline's class name, its parts, and what states its schedule.

    It returns no parts if it is not a text-to-image pipeline.
    """
    index = _read_json(folder / "model_index.json", folder)
    name = str(index.get("_class_name", "pipeline without a name"))
    if name not in PIPELINES:
        return name, {}, ""
    parts = {
        part: _load_part(folder / part, index, vae_dtype if part == "vae" else dtype)
        for part in _required_parts(PIPELINES[name])
    }
    if name == StableDiffusionXLPipeline.__name__:
        parts |= {option: index[option] for option in _XL_OPTIONS if option in index}
    config = _read_json(folder / "scheduler" / "scheduler_config.json", folder)
    return name, parts | {"scheduler": config}, "its scheduler_config.json"


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
