"""Concept files on the local disk: downloads, verification and deletion."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import ScratchDiskUnusable, WeightsDamaged, WeightsNotFound, WrongArchitecture
from models.local_files import partial_file
from streams.failures import ConceptFileLost, ConceptUnusable, ObjectMissing, Verdict, judge
from streams.store.concept_files import ConceptFiles
from streams.training_settings import TrainingSettings
from tests.fakes import MemoryStore, small_disk
from tests.streams.world import concept


class SlowStore(MemoryStore):
    """Downloads take 20 ms. downloads: number of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.downloads = 0
        self.started = asyncio.Event()

    async def download(self, key: str, write: Callable[[bytes], object], limit: int | None = None) -> bool:
        self.downloads += 1
        self.started.set()
        await asyncio.sleep(0.02)
        return await super().download(key, write, limit)


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


async def fetch(files: ConceptFiles, store: SlowStore, settings: TrainingSettings, content: bytes) -> Path:
    """Fetch a concept of its own with this content, as a job that ends at once."""
    other = concept(f"q-{content.hex()}", content=content)
    store.objects[other.key] = content
    async with files.local_copy(store, other, settings) as found:
        return Path(found.path)


def kept(settings: TrainingSettings) -> list[bytes]:
    return sorted(path.read_bytes() for path in (Path(settings.workdir or "") / "concepts").iterdir())


async def test_files_are_deleted_above_the_limit_and_the_last_used_stay(
    store: SlowStore, settings: TrainingSettings
) -> None:
    small = settings.model_copy(update={"max_concept_cache_bytes": 30})
    files = ConceptFiles()
    for number, content in enumerate((b"0123456789-a", b"0123456789-b", b"0123456789-a", b"c", b"0123456789-d")):
        path = await fetch(files, store, small, content)
        os.utime(path, (number, number))
    assert kept(small) == [b"0123456789-a", b"0123456789-d", b"c"]


async def test_a_file_that_another_worker_uses_is_not_deleted(store: SlowStore, settings: TrainingSettings) -> None:
    """Two workers on one machine share the folder; each has its own ConceptFiles."""
    small = settings.model_copy(update={"max_concept_cache_bytes": 10})
    async with ConceptFiles().local_copy(store, concept("p1"), small) as first:
        os.utime(first.path, (1, 1))
        other = ConceptFiles()
        for number in range(3):
            path = await fetch(other, store, small, f"weights {number}".encode())
            os.utime(path, (number + 2, number + 2))
            assert Path(first.path).read_bytes() == b"weights"
    assert kept(small) == [b"weights", b"weights 2"]


async def test_two_workers_that_download_the_same_concept_share_the_first_file(
    store: SlowStore, settings: TrainingSettings
) -> None:
    used: list[int] = []

    async def use() -> None:
        async with ConceptFiles().local_copy(store, concept("p1"), settings) as found:
            used.append(Path(found.path).stat().st_ino)
            await asyncio.sleep(0.01)

    await asyncio.gather(use(), use())
    assert store.downloads == 2
    assert used[0] == used[1]
    assert kept(settings) == [b"weights"]


@pytest.mark.parametrize("damage", ["gone", "changed"])
async def test_a_file_that_vanishes_during_a_job_is_not_the_fault_of_the_event(
    store: SlowStore, settings: TrainingSettings, damage: str
) -> None:
    files = ConceptFiles()

    async def disturbed() -> None:
        async with files.local_copy(store, concept("p1"), settings) as found:
            if damage == "gone":
                Path(found.path).unlink()
                raise WeightsNotFound(role="concept", reference="x", hint="there is no such file.")
            Path(found.path).write_bytes(b"WEIGHTS")  # as long as before
            raise WeightsDamaged(path="x", digest="y")

    with pytest.raises(ConceptFileLost, match="The local file of the concept of jam was deleted or changed") as lost:
        await disturbed()
    assert judge(lost.value, failures=99, limit=1) is Verdict.RETRY
    async with files.local_copy(store, concept("p1"), settings) as found:
        assert Path(found.path).read_bytes() == b"weights"


async def test_a_full_disk_makes_room_with_files_that_no_job_uses(
    store: SlowStore, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ConceptFiles()
    await fetch(files, store, settings, b"old")
    async with files.local_copy(store, concept("p1"), settings) as first:
        small_disk(Path(settings.workdir or ""), 14, monkeypatch)
        await fetch(files, store, settings, b"newer")
        assert kept(settings) == [b"newer", b"weights"]
        with pytest.raises(ScratchDiskUnusable, match="No space left on device") as full:
            await fetch(files, store, settings, b"too large")
        assert str(Path(settings.workdir or "")) in str(full.value)
        assert judge(full.value, failures=99, limit=1) is Verdict.RETRY
        assert kept(settings) == [b"weights"]
        assert Path(first.path).exists()


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
    monkeypatch.setattr("streams.store.concept_files._is_intact", lambda path, *_: reads.append(path))
    for _ in range(2):
        async with files.local_copy(store, concept("p1"), settings):
            pass
    assert reads == []  # the download hashed it
    assert store.downloads == 1


async def test_an_intact_file_that_the_device_cannot_use_is_the_fault_of_the_concept(
    store: SlowStore, settings: TrainingSettings
) -> None:
    with pytest.raises(ConceptUnusable, match="The concept of jam cannot be used: The checkpoint x does not fit"):
        async with ConceptFiles().local_copy(store, concept("p1"), settings):
            raise WrongArchitecture(path="x", architecture="this UNet", detail="d")


async def test_a_damaged_concept_in_the_store_is_not_used(store: SlowStore, settings: TrainingSettings) -> None:
    store.objects[concept("p1").key] = b"torn"
    with pytest.raises(ObjectMissing):
        async with ConceptFiles().local_copy(store, concept("p1"), settings):
            raise AssertionError("it was used")
    assert list((Path(settings.workdir or "") / "concepts").iterdir()) == []


@pytest.mark.parametrize("size", [7, 8])
async def test_a_concept_that_is_too_large_is_unusable_and_not_an_outage(
    size: int, store: SlowStore, settings: TrainingSettings
) -> None:
    store.objects[concept("p1").key] = b"weights" + bytes(size - 7)
    limited = settings.model_copy(update={"max_concept_bytes": 7})
    if size == 7:
        async with ConceptFiles().local_copy(store, concept("p1"), limited) as found:
            assert Path(found.path).read_bytes() == b"weights"
        return
    with pytest.raises(ConceptUnusable, match=r"of jam cannot be used: The object .* is larger than 7 bytes") as raised:
        async with ConceptFiles().local_copy(store, concept("p1"), limited):
            raise AssertionError("it was used")
    assert judge(raised.value, failures=3, limit=3) is Verdict.DEAD_LETTER
    assert kept(limited) == []


async def test_partial_downloads_without_a_writer_are_deleted(store: SlowStore, settings: TrainingSettings) -> None:
    folder = Path(settings.workdir or "") / "concepts"
    folder.mkdir(parents=True)
    (folder / "killed.1.part").touch()
    with partial_file(folder / "another.safetensors") as running:
        running.write(b"half")
        async with ConceptFiles().local_copy(store, concept("p1"), settings):
            pass
        assert [path.read_bytes() for path in folder.glob("*.part")] == [b"half"]


async def test_a_cancelled_download_releases_everything(store: SlowStore, settings: TrainingSettings) -> None:
    async def use() -> None:
        async with files.local_copy(store, concept("p1"), settings):
            raise AssertionError("it was cancelled")

    files = ConceptFiles()
    task = asyncio.create_task(use())
    await asyncio.wait_for(store.started.wait(), 5)
    task.cancel()
    await asyncio.wait({task})
    assert kept(settings) == []
    assert not files.locks


async def test_the_folder_is_private(store: SlowStore, settings: TrainingSettings) -> None:
    async with ConceptFiles().local_copy(store, concept("p1"), settings) as found:
        assert {stat.S_IMODE(path.stat().st_mode) for path in list(Path(found.path).parents)[:2]} == {0o700}
