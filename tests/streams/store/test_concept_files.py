"""Concept files on the local disk: downloads, verification and deletion."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from models.errors import WeightsDamaged
from streams.failures import ConceptUnusable, ObjectMissing
from streams.store.concept_files import ConceptFiles
from streams.training_settings import TrainingSettings
from tests.fakes import MemoryStore
from tests.streams.world import concept


class SlowStore(MemoryStore):
    """Downloads take 20 ms. downloads: number of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.downloads = 0

    async def download(self, key: str, path: Path) -> bool:
        self.downloads += 1
        await asyncio.sleep(0.02)
        return await super().download(key, path)


@pytest.fixture
def settings(tmp_path: Path) -> TrainingSettings:
    return TrainingSettings(workdir=str(tmp_path / "scratch"))


@pytest.fixture
def store() -> SlowStore:
    slow = SlowStore()
    slow.objects[concept("p1").key] = b"weights"
    return slow


async def test_concurrent_jobs_share_one_download(store: SlowStore, settings: TrainingSettings) -> None:
    files = ConceptFiles()

    async def used() -> bytes:
        async with files.local_copy(store, concept("p1"), settings) as found:
            await asyncio.sleep(0.01)
            return Path(found.path).read_bytes()

    assert await asyncio.gather(*(used() for _ in range(6))) == [b"weights"] * 6
    assert store.downloads == 1
    assert not files.locks
    assert not files.used


async def test_a_file_in_use_is_not_deleted_for_newer_ones(store: SlowStore, settings: TrainingSettings) -> None:
    files = ConceptFiles()
    async with files.local_copy(store, concept("p1"), settings) as first:
        for number in range(12):
            content = f"weights {number}".encode()
            other = concept(f"q{number}", content=content)
            store.objects[other.key] = content
            async with files.local_copy(store, other, settings):
                assert Path(first.path).exists()
    kept = list((Path(settings.workdir or "") / "concepts").iterdir())
    assert len(kept) <= 9


async def test_a_truncated_file_of_an_earlier_process_is_downloaded_again(
    store: SlowStore, settings: TrainingSettings
) -> None:
    async with ConceptFiles().local_copy(store, concept("p1"), settings) as found:
        path = Path(found.path)
    path.write_bytes(b"wei")
    async with ConceptFiles().local_copy(store, concept("p1"), settings):
        assert path.read_bytes() == b"weights"
    assert store.downloads == 2


async def test_a_verified_file_is_not_hashed_again(
    store: SlowStore, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, reads = ConceptFiles(), []
    async with files.local_copy(store, concept("p1"), settings):
        pass
    monkeypatch.setattr("streams.store.concept_files._sha256", lambda path: reads.append(path) or "")
    async with files.local_copy(store, concept("p1"), settings):
        pass
    assert reads == []
    assert store.downloads == 1


async def test_a_file_that_the_device_cannot_use_is_verified_again(
    store: SlowStore, settings: TrainingSettings
) -> None:
    files = ConceptFiles()

    async def refused() -> None:
        async with files.local_copy(store, concept("p1"), settings) as found:
            Path(found.path).write_bytes(b"WEIGHTS")  # as long as before
            raise WeightsDamaged(path="x", digest="y")

    with pytest.raises(ConceptUnusable, match="The concept of jam cannot be used: The file x is not the expected one"):
        await refused()
    async with files.local_copy(store, concept("p1"), settings) as found:
        assert Path(found.path).read_bytes() == b"weights"


async def test_a_damaged_concept_in_the_store_is_not_used(store: SlowStore, settings: TrainingSettings) -> None:
    store.objects[concept("p1").key] = b"torn"
    with pytest.raises(ObjectMissing):
        async with ConceptFiles().local_copy(store, concept("p1"), settings):
            raise AssertionError("it was used")
    assert list((Path(settings.workdir or "") / "concepts").iterdir()) == []


async def test_stale_partial_downloads_are_deleted(store: SlowStore, settings: TrainingSettings) -> None:
    folder = Path(settings.workdir or "") / "concepts"
    folder.mkdir(parents=True)
    for name, age in (("old", 7200), ("new", 10)):
        (folder / f"{name}.1.part").touch()
        os.utime(folder / f"{name}.1.part", (time.time() - age,) * 2)
    async with ConceptFiles().local_copy(store, concept("p1"), settings):
        pass
    assert [path.name for path in folder.glob("*.part")] == ["new.1.part"]
