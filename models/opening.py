"""Opening a studio: device, precision, weights, recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import diffusers
import open_clip
import PIL
import torch
import torchvision
import transformers
from numpy.typing import NDArray
from PIL import features

from models import images
from models.briefs import Encoding, StudioPlan, StudioRecipe
from models.devices import device_named
from models.images import Encoded
from models.networks import Networks
from models.precision import Precisions, choose_precisions
from models.rendering import provenance
from models.rendering.diffusion import DiffusionGenerator, Sampling
from models.rendering.reranking import ClipReranker
from models.rendering.upscaling import SwinirUpscaler
from models.studio import Studio
from models.weights import catalog, pipelines
from models.weights.families import Family
from models.weights.full_precision import FullPrecision
from models.weights.pipelines import Pipeline
from models.weights.schedule import ScheduleOverrides

DEFAULT_GUIDANCE = 7.5
DEFAULT_GUIDANCE_XL = 5.0
DEFAULT_STEPS = 20
# Fields of a plan that do not affect a picture's bytes, or that the recipe holds under another name.
NOT_IN_RECIPE = frozenset(
    {
        "diffusion",  # the location of the files: the recipe hashes their content and lists their ids in `models`
        "reranking",
        "upscaling",
        "device",  # the recipe holds its kind (cuda), not its number
        "threads",  # a property of the machine; see `studio_recipe`
        "dino",  # scores trained products only
        "concepts",  # the size of a cache
        "network",
    }
)


def open_studio(
    plan: StudioPlan, on_fetched: Callable[[], None] = lambda: None, precisions: Precisions | None = None
) -> Studio:
    """Load every network of a plan onto its device. Raises a WeightsError, UnusableSampler or DeviceUnavailable.

    on_fetched: called once all files are on this machine, before any is loaded.
    precisions: instead of those that the plan's dtype chooses.
    """
    silence_libraries()
    device = device_named(plan.device)
    precisions = precisions or choose_precisions(plan.dtype, device)
    make_repeatable(plan.threads)
    found = [
        catalog.resolve("diffusion", plan.diffusion),
        catalog.resolve("reranking", plan.reranking),
        catalog.resolve("upscaling", plan.upscaling),
    ]
    on_fetched()
    diffusion, reranking, upscaling = found
    overrides = ScheduleOverrides(plan.prediction_type, plan.zero_snr)
    pipeline = pipelines.load(diffusion, precisions.diffusion, torch.float32, overrides)
    sampling = choose_sampling(plan, pipeline, diffusion.family)
    generator = DiffusionGenerator(pipeline, sampling, device, precisions.vae)
    networks = Networks(
        generator,
        ClipReranker.load(reranking, device, precisions.reranking),
        SwinirUpscaler.load(upscaling, device, precisions.upscaling, plan.tile, plan.tile_overlap),
        FileEncoder(plan.encoding, plan.quality),
        diffusion.family.negative_prompt or "",
        diffusion.family.training,
        scorers=(),
        finishers=(),
        full_precision=FullPrecision(pipeline, diffusion),
        vocabulary=diffusion.family.vocabulary,
    )
    check_networks(networks)
    if plan.compile:
        pipeline.unet.compile()
        pipeline.vae.decoder.compile()
    return Studio(plan, studio_recipe(plan, found, networks, precisions), networks, device)


def check_networks(networks: Networks) -> None:
    """Make one small picture, score it and enlarge it. Raises NonFiniteOutput.

    A network that overflows in its precision shows before the recipe is written, and the recipe has its final one.
    """
    pixels = networks.generator.probe()
    networks.reranker.score(pixels, "a photo")
    networks.upscaler.upscale(pixels)


class FileEncoder:
    """The encoder of a plan: one encoding, with the XMP packet inside."""

    def __init__(self, encoding: Encoding = "png", quality: int = 95) -> None:
        self.encoding, self.quality = encoding, quality

    def __call__(self, bytes_hwc: NDArray[Any], origin: provenance.Origin) -> Encoded:
        """Return the file of uint8 (H,W,3)."""
        return images.encode(bytes_hwc, self.encoding, self.quality, provenance.xmp(origin))


def silence_libraries() -> None:
    """Keep the libraries' progress bars and their hints for programmers out of the worker's log."""
    logging.getLogger().setLevel(logging.ERROR)
    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def make_repeatable(threads: int | None) -> None:
    """Make the libraries choose kernels deterministically, not by timing, so that the same call gives the same bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if threads is not None:
        torch.set_num_threads(threads)


def choose_sampling(plan: StudioPlan, pipeline: Pipeline, family: Family) -> Sampling:
    """Return the plan's values; if it has none, those of the family's card; otherwise the architecture's defaults."""
    guidance = DEFAULT_GUIDANCE_XL if isinstance(pipeline, diffusers.StableDiffusionXLPipeline) else DEFAULT_GUIDANCE
    return Sampling(
        size=plan.size or family.size or pipelines.native_size(pipeline),
        steps=_first_set(plan.steps, family.steps, DEFAULT_STEPS),
        guidance_scale=_first_set(plan.guidance_scale, family.guidance_scale, guidance),
        bucket=plan.bucket,
        sampler=plan.sampler,
    )


def studio_recipe(
    plan: StudioPlan, found: list[catalog.Weights], networks: Networks, precisions: Precisions
) -> StudioRecipe:
    """Return everything that decides a picture's bytes; the fingerprint covers all weight files, settings and versions.

    The recipe holds each field of the plan except NOT_IN_RECIPE, and the values chosen for `auto` and None.
    It leaves the machine out: request ids depend on the fingerprint, and an event must stay the same request if another
    machine of the fleet takes it over, even if another processor or number of threads changes the last bits.
    """
    generator: Any = networks.generator
    upscaler: Any = networks.upscaler
    sampling, schedule = generator.sampling, generator.pipeline.scheduler.config
    used = replace(precisions, vae=generator.decoder.dtype, upscaling=upscaler.dtype)
    plan_values = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    settings: dict[str, str | int | float | bool] = {
        name: value for name, value in plan_values.items() if name not in NOT_IN_RECIPE and value is not None
    } | {
        "size": sampling.size,
        "steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "sampler": sampling.sampler or generator.scheduler_name,
        "prediction_type": schedule.get("prediction_type", "epsilon"),
        "zero_snr": bool(schedule.get("rescale_betas_zero_snr")),
        "device": generator.device.type,
        **used.recipe_settings(),
        **library_versions(),
    }
    models = tuple(weights.recipe_entry() for weights in found)
    everything = [[weights.role, weights.architecture, weights.files] for weights in found]
    text = json.dumps([everything, settings], sort_keys=True)
    return StudioRecipe(hashlib.sha256(text.encode()).hexdigest(), models, settings)


def library_versions() -> dict[str, str]:
    """Return the version of every library whose code decides bytes of a picture."""
    return {
        "torch": str(torch.__version__),  # a TorchVersion would make the worker import torch
        "torchvision": str(torchvision.__version__),
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "open_clip": open_clip.__version__,
        "basicsr": version("basicsr"),
        "pillow": PIL.__version__,
        "zlib": features.version("zlib_ng") or features.version("zlib") or "none",
    }


def _first_set(*values: Any) -> Any:
    return next(value for value in values if value is not None)
