"""The cache of class images, in the layout that `class_images` writes: bounded by bytes, the last used sets stay."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models.briefs import TrainingJob
from models.learning.class_images import class_images


class Run(SimpleNamespace):
    """The parts of a TrainingRun that `class_images` uses. generated: the number of images drawn."""

    def __init__(self, cache: Path, noun: str, limit: int | None) -> None:
        job = TrainingJob(
            request_id="r",
            product_id="milk",
            class_noun=noun,
            placeholder_token="sks",
            method="dreambooth",
            photos=(),
            seed=1,
            workdir=str(cache.parent / "job"),
            class_cache=str(cache),
            class_cache_bytes=limit,
        )
        studio = SimpleNamespace(recipe=SimpleNamespace(fingerprint="f"), plan=SimpleNamespace(bucket=2))
        super().__init__(training_job=job, studio=studio, reporter=self, generated=0, reports=[])

    def progress(self, stage: str, done: int, total: int) -> None:
        self.reports.append((stage, done, total))

    def generate_unguided(self, _prompt: str, seeds: tuple[int, ...]) -> torch.Tensor:
        self.generated += len(seeds)
        rows = [torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.cat(rows)


def use(cache: Path, noun: str, limit: int | None = None, count: int = 3) -> tuple[Any, torch.Tensor]:
    run = Run(cache, noun, limit)
    return run, torch.cat(list(class_images(run, count)))  # type: ignore[arg-type]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def set_size(tmp_path: Path) -> int:
    use(tmp_path / "measured", "x")
    [folder] = (tmp_path / "measured").iterdir()
    return size(folder)


def test_the_least_recently_used_sets_are_deleted_above_the_limit(tmp_path: Path) -> None:
    cache, limit = tmp_path / "cache", int(2.5 * set_size(tmp_path))
    for second, noun in enumerate(("jar", "cup", "jar", "box")):
        use(cache, noun, limit)
        newest = max(cache.iterdir(), key=lambda folder: folder.stat().st_mtime)
        os.utime(newest, (second, second))
    assert sum(size(folder) for folder in cache.iterdir()) <= limit
    drawn = {noun: use(cache, noun)[0].generated for noun in ("jar", "box", "cup")}
    assert drawn == {"jar": 0, "box": 0, "cup": 3}


def test_the_set_in_use_stays_even_if_it_is_larger_than_the_limit(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for noun in ("jar", "cup"):
        use(cache, noun, limit=1)
    [folder] = cache.iterdir()
    assert len(list(folder.iterdir())) == 2


def test_a_set_that_is_deleted_during_a_job_is_drawn_again_with_equal_pixels(tmp_path: Path) -> None:
    _, first = use(tmp_path / "cache", "jar")
    use(tmp_path / "cache", "cup", limit=1)
    run, again = use(tmp_path / "cache", "jar")
    assert run.generated == 3
    assert torch.equal(first, again)


def test_reading_the_cache_reports_progress(tmp_path: Path) -> None:
    use(tmp_path / "cache", "jar")
    run, _ = use(tmp_path / "cache", "jar")
    assert run.reports == [("load", 2, 3), ("load", 3, 3)] * 2, "once to see that all are there, once for the training"


def test_a_partial_file_of_a_killed_process_is_deleted(tmp_path: Path) -> None:
    use(tmp_path / "cache", "jar")
    [folder] = (tmp_path / "cache").iterdir()
    (folder / "00000.77.part").touch()
    use(tmp_path / "cache", "jar")
    assert sorted(path.name for path in folder.iterdir()) == ["00000.safetensors", "00002.safetensors"]


@pytest.mark.parametrize("cache_limit", [None, 10**9])
def test_a_cache_within_its_limit_keeps_everything(tmp_path: Path, cache_limit: int | None) -> None:
    for noun in ("jar", "cup", "box"):
        use(tmp_path / "cache", noun, cache_limit)
    assert len(list((tmp_path / "cache").iterdir())) == 3
