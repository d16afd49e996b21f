"""Opening a studio: device, precision, weights, recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from typing import Any

import diffusers
import open_clip
import torch
import transformers
from numpy.typing import NDArray
from transformers import dynamic_module_utils

from models import images
from models.briefs import StudioPlan, StudioRecipe
from models.devices import device_named, dtype_named
from models.images import Encoded
from models.rendering import provenance
from models.rendering.diffusion import DiffusionGenerator, Sampling
from models.rendering.reranking import ClipReranker
from models.rendering.upscaling import SwinirUpscaler
from models.studio import Networks, Studio
from models.weights import catalog, pipelines
from models.weights.families import Family
from models.weights.pipelines import Pipeline

GUIDANCE = 7.5
GUIDANCE_XL = 5.0
STEPS = 20
# Fields of a plan that decide no picture's bytes, or whose meaning is in the recipe under another name.
NOT_IN_RECIPE = frozenset(
    {
        "diffusion",  # where the files lie: their content is hashed, their names are in `models`
        "reranking",
        "upscaling",
        "device",  # cuda:0 or cuda:1 is all one; its kind is in the recipe
        "threads",  # a property of the machine, see `recipe_of`
        "dino",  # judges what was learned, after the pictures
        "concepts",  # how many learned products stay at hand
    }
)


def open_studio(plan: StudioPlan) -> Studio:
    """Load every network of a plan onto its device. Raises a WeightsError or DeviceUnavailable."""
    quiet()
    device = device_named(plan.device)
    dtype = dtype_named(plan.dtype, device)
    make_repeatable(plan.threads)
    found = [
        catalog.resolve("diffusion", plan.diffusion),
        catalog.resolve("reranking", plan.reranking),
        catalog.resolve("upscaling", plan.upscaling),
    ]
    diffusion, reranking, upscaling = found
    pipeline = pipelines.load(diffusion, dtype)
    generator = DiffusionGenerator(pipeline, sampling_of(plan, pipeline, diffusion.family), device)
    networks = Networks(
        generator,
        ClipReranker.load(reranking, device, dtype),
        SwinirUpscaler.load(upscaling, device, dtype, plan.tile, plan.tile_overlap),
        FileEncoder(plan.encoding, plan.quality),
        diffusion.family.negative_prompt or "",
        diffusion.family.training,
    )
    if plan.compile:
        pipeline.unet.compile()
        pipeline.vae.decoder.compile()
    return Studio(plan, studio_recipe(plan, found, generator, dtype), networks, device)


class FileEncoder:
    """The encoder of a plan: one format, with the XMP packet inside."""

    def __init__(self, encoding: images.Encoding = "png", quality: int = 95) -> None:
        self.encoding, self.quality = encoding, quality

    def __call__(self, bytes_hwc: NDArray[Any], origin: provenance.Origin) -> Encoded:
        """Return the file of uint8 (H,W,3)."""
        return images.encode(bytes_hwc, self.encoding, self.quality, provenance.xmp(origin))


def quiet() -> None:
    """Keep the libraries' progress bars and advice to programmers out of the worker's log."""
    logging.getLogger().setLevel(logging.ERROR)
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # refuse remote code at once instead of asking at the terminal
    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def make_repeatable(threads: int | None) -> None:
    """Choose kernels by rule rather than by timing, so that the same call gives the same bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if threads is not None:
        torch.set_num_threads(threads)


def sampling_of(plan: StudioPlan, pipeline: Pipeline, family: Family) -> Sampling:
    """Return the plan's sampling, then the family's, then what the architecture is known for."""
    guidance = GUIDANCE_XL if isinstance(pipeline, diffusers.StableDiffusionXLPipeline) else GUIDANCE
    return Sampling(
        size=plan.size or family.size or pipelines.native_size(pipeline),
        steps=_first(plan.steps, family.steps, STEPS),
        guidance_scale=_first(plan.guidance_scale, family.guidance_scale, guidance),
        bucket=plan.bucket,
        sampler=plan.sampler,
    )


def studio_recipe(
    plan: StudioPlan, found: list[catalog.Weights], generator: DiffusionGenerator, dtype: torch.dtype
) -> StudioRecipe:
    """Return what decides a picture's bytes; the fingerprint covers every weight file, setting and library version.

    A field of the plan is in it unless NOT_IN_RECIPE names it; where it says `auto` or None, what that came to is.
    Not the machine: request ids come from the fingerprint, and an event that another machine of the fleet takes over
    must stay the same request, though its last bits may differ there (another processor, another number of threads).
    """
    sampling = generator.sampling
    stated = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    settings: dict[str, str | int | float | bool] = {
        name: value for name, value in stated.items() if name not in NOT_IN_RECIPE and value is not None
    } | {
        "size": sampling.size,
        "steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "sampler": sampling.sampler or generator.scheduler_name,
        "device": generator.device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "open_clip": open_clip.__version__,
    }
    models = tuple(weights.used() for weights in found)
    everything = [[weights.role, weights.architecture, weights.files] for weights in found]
    text = json.dumps([everything, settings], sort_keys=True)
    return StudioRecipe(hashlib.sha256(text.encode()).hexdigest(), models, settings)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
