"""Class images for prior preservation: pictures of the class noun by the base model, cached per noun and recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.learning.dreambooth import class_prompt
from models.learning.training_run import TrainingRun, identity_digest, seeds_for
from models.weights.tensor_file import write_tensors

CLASS_GUIDANCE = "unguided"  # part of the cache key and of a training run's identity


def class_images(run: TrainingRun, count: int) -> Tensor:
    """Return pixels (count,3,S,S) from the cache; the base model generates missing ones.

    The base model generates without classifier-free guidance. Guidance makes pictures more alike, so training on guided
    ones would narrow the class, whereas training on unguided ones preserves it. Each bucket is written as soon as it is
    complete, so an interruption loses at most one.
    """
    noun = run.training_job.class_noun
    key = identity_digest([run.studio.recipe.fingerprint, noun, count, CLASS_GUIDANCE])[:32]
    folder = Path(run.training_job.class_cache or run.training_job.workdir) / f"class-{key}"
    seeds, buckets = seeds_for("class", noun, count), []
    for part in batches(count, run.studio.plan.bucket):
        path = folder / f"{part.start:05d}.safetensors"
        pixels = _cached_pixels(path)
        if pixels is None:
            run.reporter.progress("prior", part.start, count)
            generated = run.generate_unguided(class_prompt(noun), seeds[part.start : part.stop])
            pixels = generated.mul(255).round().to(torch.uint8)
            write_tensors({"pixels": pixels}, path, {"class_noun": noun})
        buckets.append(pixels)
    return torch.cat(buckets).float() / 255


def batches(total: int, size: int) -> Iterator[range]:
    """Yield ranges of `size` that cover 0..total; the last may be shorter."""
    for start in range(0, total, size):
        yield range(start, min(start + size, total))


def _cached_pixels(path: Path) -> Tensor | None:
    """Return uint8 pixels (N,3,S,S), or None if the file is missing or damaged."""
    with suppress(FileNotFoundError, SafetensorError):
        return load_file(path)["pixels"]
    return None
