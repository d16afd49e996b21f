"""Class images for prior preservation: pictures of the class noun by the base model, cached per noun and recipe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.learning.dreambooth import class_prompt
from models.learning.training_run import TrainingRun, identity_digest, seeds_for
from models.local_files import delete_partials, oldest_first
from models.weights.tensor_file import write_tensors

CLASS_GUIDANCE = "unguided"  # part of the cache key and of a training run's identity


def class_images(run: TrainingRun, count: int) -> Tensor:
    """Return pixels (count,3,S,S) from the cache; the base model generates missing ones.

    The base model generates without classifier-free guidance. Guidance makes pictures more alike, so training on guided
    ones would narrow the class, whereas training on unguided ones preserves it. Each bucket is written as soon as it is
    complete, so an interruption loses at most one.
    The cache then keeps the sets of class images that were used last, up to the job's `class_cache_bytes`.
    """
    job = run.training_job
    noun = job.class_noun
    key = identity_digest([run.studio.recipe.fingerprint, noun, count, CLASS_GUIDANCE])[:32]
    cache = Path(job.class_cache or job.workdir)
    folder = cache / f"class-{key}"
    delete_partials(folder)
    if job.class_cache is not None and job.class_cache_bytes is not None:
        delete_old_sets(cache, folder, job.class_cache_bytes)
    seeds, buckets = seeds_for("class", noun, count), []
    for part in batches(count, run.studio.plan.bucket):
        path = folder / f"{part.start:05d}.safetensors"
        pixels = _cached_pixels(path)
        if pixels is None:
            run.reporter.progress("prior", part.start, count)
            generated = run.generate_unguided(class_prompt(noun), seeds[part.start : part.stop])
            pixels = generated.mul(255).round().to(torch.uint8)
            write_tensors({"pixels": pixels}, path, {"class_noun": noun})
        else:
            run.reporter.progress("load", part.stop, count)
        buckets.append(pixels)
    os.utime(folder)
    if job.class_cache is not None and job.class_cache_bytes is not None:
        delete_old_sets(cache, folder, job.class_cache_bytes)
    return torch.cat(buckets).float() / 255


def delete_old_sets(cache: Path, kept: Path, limit: int) -> None:
    """Delete the least recently used sets of class images until all take at most `limit` bytes; never `kept`.

    Another job may be using a deleted set. It generates the missing images again, with equal pixels.
    """
    sets = oldest_first(cache.glob("class-*"))
    total = sum(size for _, size in sets)
    for folder, size in sets:
        if total > limit and folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def batches(total: int, size: int) -> Iterator[range]:
    """Yield ranges of `size` that cover 0..total; the last may be shorter."""
    for start in range(0, total, size):
        yield range(start, min(start + size, total))


def _cached_pixels(path: Path) -> Tensor | None:
    """Return uint8 pixels (N,3,S,S), or None if the file is missing or damaged."""
    with suppress(FileNotFoundError, SafetensorError):
        return load_file(path)["pixels"]
    return None
