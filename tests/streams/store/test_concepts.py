"""Pointers to concepts, and their files on this machine."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import WeightsDamaged
from streams.failures import ConceptUnusable, ObjectMissing
from streams.settings import TrainingSettings
from streams.store.concept_files import ConceptFiles
from streams.store.concepts import CurrentConcept, current_concept, make_current, pin_concept, pinned_concept
from streams.store.parked import park_segment, parked_segments
from tests.fakes import MemoryStore
from tests.streams.world import segment

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def concept(request_id: str, *, minutes: int = 0, offset: int = 0, content: bytes = b"weights") -> CurrentConcept:
    return CurrentConcept(
        product_id="jam",
        request_id=request_id,
        occurred_at=NOON + timedelta(minutes=minutes),
        offset=offset,
        method="dreambooth",
        class_noun="jar",
        placeholder_token="sks",
        key=f"concepts/jam/{request_id}/concept",
        sha256=hashlib.sha256(content).hexdigest(),
        weights="1",
    )


class Slow(MemoryStore):
    """Downloads take a while. downloads: how many there were."""

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
def store() -> Slow:
    found = Slow()
    found.objects[concept("p1").key] = b"weights"
    return found


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        (concept("old"), concept("new", minutes=1), "new"),
        (concept("new", minutes=1), concept("old"), "new"),
        (concept("first", offset=3), concept("second", offset=9), "second"),
        (concept("second", offset=9), concept("first", offset=3), "second"),
        (concept("before", offset=3), concept("other-weights", offset=3), "other-weights"),
    ],
)
async def test_the_later_registration_is_current(first: CurrentConcept, second: CurrentConcept, stands: str) -> None:
    store = MemoryStore()
    await make_current(store, first)
    await make_current(store, second)
    current = await current_concept(store, "jam")
    assert current is not None
    assert current.request_id == stands


async def test_the_first_concept_of_a_request_is_its_concept(store: Slow) -> None:
    assert await pinned_concept(store, "creatives/s/r/") is None
    assert await pin_concept(store, "creatives/s/r/", concept("p1")) == concept("p1")
    assert await pin_concept(store, "creatives/s/r/", concept("p2", minutes=1)) == concept("p1")
    assert await pinned_concept(store, "creatives/s/r/") == concept("p1")


async def test_many_at_once_fetch_it_once(store: Slow, settings: TrainingSettings) -> None:
    files = ConceptFiles()

    async def used() -> bytes:
        async with files.local_copy(store, concept("p1"), settings) as found:
            await asyncio.sleep(0.01)
            return Path(found.path).read_bytes()

    assert await asyncio.gather(*(used() for _ in range(6))) == [b"weights"] * 6
    assert store.downloads == 1
    assert not files.locks
    assert not files.used


async def test_a_file_in_use_stays_though_many_newer_ones_come(store: Slow, settings: TrainingSettings) -> None:
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


async def test_a_torn_file_of_an_earlier_process_is_fetched_anew(store: Slow, settings: TrainingSettings) -> None:
    async with ConceptFiles().local_copy(store, concept("p1"), settings) as found:
        path = Path(found.path)
    path.write_bytes(b"wei")
    async with ConceptFiles().local_copy(store, concept("p1"), settings):
        assert path.read_bytes() == b"weights"
    assert store.downloads == 2


async def test_a_sound_file_is_read_once(
    store: Slow, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, reads = ConceptFiles(), []
    async with files.local_copy(store, concept("p1"), settings):
        pass
    monkeypatch.setattr("streams.store.concept_files._sha256", lambda path: reads.append(path) or "")
    async with files.local_copy(store, concept("p1"), settings):
        pass
    assert reads == []
    assert store.downloads == 1


async def test_what_the_device_cannot_use_is_looked_at_anew(store: Slow, settings: TrainingSettings) -> None:
    files = ConceptFiles()

    async def refused() -> None:
        async with files.local_copy(store, concept("p1"), settings) as found:
            Path(found.path).write_bytes(b"WEIGHTS")  # as long as before
            raise WeightsDamaged(path="x", digest="y")

    with pytest.raises(ConceptUnusable, match="The concept of jam cannot be used: The file x is not the one"):
        await refused()
    async with files.local_copy(store, concept("p1"), settings) as found:
        assert Path(found.path).read_bytes() == b"weights"


async def test_a_concept_that_the_store_has_not_whole(store: Slow, settings: TrainingSettings) -> None:
    store.objects[concept("p1").key] = b"torn"
    with pytest.raises(ObjectMissing):
        async with ConceptFiles().local_copy(store, concept("p1"), settings):
            raise AssertionError("it was used")
    assert list((Path(settings.workdir or "") / "concepts").iterdir()) == []


async def test_what_a_killed_worker_was_fetching_goes_after_a_while(store: Slow, settings: TrainingSettings) -> None:
    folder = Path(settings.workdir or "") / "concepts"
    folder.mkdir(parents=True)
    for name, age in (("old", 7200), ("new", 10)):
        (folder / f"{name}.1.part").touch()
        os.utime(folder / f"{name}.1.part", (time.time() - age,) * 2)
    async with ConceptFiles().local_copy(store, concept("p1"), settings):
        pass
    assert [path.name for path in folder.glob("*.part")] == ["new.1.part"]


async def test_waiting_segments_come_one_at_a_time() -> None:
    store = MemoryStore()
    for number in range(5):
        await park_segment(store, segment(f"s{number}"), "jam", f"r{number}")
    waiting = parked_segments(store, "jam")
    key, event = await anext(waiting)
    assert (key, event.event_id) == ("parked/jam/r0.json", "s0")
    assert [call for call in store.calls if call[0] == "get"] == [("get", "parked/jam/r0.json")]
    assert [event.event_id async for _, event in waiting] == ["s1", "s2", "s3", "s4"]
