"""Segments that name a product: before it is registered, while it trains, and after; two roles, a broker and a store.

The device is a fake whose concepts matter only by their bytes: its pictures are made of the concept's file too.
"""

# ruff: noqa: ASYNC110
import asyncio
import json

import pytest

from streams.store.concepts import CurrentConcept
from streams.store.keys import current_concept_key, parked_prefix
from tests.faults.ground import segment
from tests.faults.invariants import Auditor

JAM = "jam"
PHOTO = b"no picture; the fake device does not look"


def registration(ground, event_id: str, noun: str = "jar of jam", hour: int = 10) -> dict[str, object]:
    return {
        "event_id": event_id,
        "occurred_at": f"2026-11-23T{hour}:00:00Z",
        "product_id": JAM,
        "name": "Malina",
        "class_noun": noun,
        "images": [ground.store.uri(f"photos/jam/{number}.png") for number in (1, 2, 3)],
    }


def naming(event_id: str) -> dict[str, object]:
    return {**segment(event_id, f"segment-of-{event_id}"), "product_id": JAM}


@pytest.fixture
async def ground(make_ground, tmp_path):
    """Two workers, one of each role, each with a disk of its own."""
    async with make_ground() as ground:
        for number in (1, 2, 3):
            await ground.store.put(f"photos/jam/{number}.png", PHOTO, "image/png")
        for role in ("render", "train"):
            more = {"CREATIVES_ROLE": role, "CREATIVES_TRAINING__WORKDIR": str(tmp_path / role), "FAKE_SLOW": "6"}
            await ground.worker(role, **more)
        for worker in ground.workers:
            await worker.ready()
        yield ground


@pytest.fixture
async def auditor(ground):
    async with Auditor(ground) as auditor:
        yield auditor


async def until_parked(ground, count: int) -> None:
    async with asyncio.timeout(60):
        while len(await ground.store.list(parked_prefix(JAM))) < count:
            await asyncio.sleep(0.1)


async def until_current(ground, before: str | None = None) -> CurrentConcept:
    """Return the product's concept, once there is one that is not `before`."""
    async with asyncio.timeout(60):
        while True:
            content = await ground.store.get(current_concept_key(JAM))
            if content and (current := CurrentConcept.model_validate_json(content)).sha256 != before:
                return current
            await asyncio.sleep(0.1)


def creative(auditor, event_id: str) -> dict:
    """Return the one outcome of a segment."""
    [(topic, value)] = auditor.values["event", event_id]
    assert topic.endswith("creative-ready")
    return json.loads(value)


async def test_before_while_and_after_each_segment_ends_in_one_creative_that_shows_it(ground, auditor):
    await ground.emit(naming("before"))
    await until_parked(ground, 1)
    await ground.register(registration(ground, "first", "jar of jam made slowly"))
    await asyncio.sleep(2)  # the lesson takes 6 s
    assert await ground.store.get(current_concept_key(JAM)) is None, "it is still being learned"
    await ground.emit(naming("while"))
    await until_parked(ground, 2)
    await auditor.until(2)
    first = await until_current(ground)
    await ground.emit(naming("after"))
    await auditor.until(3)
    await auditor.settled()
    found = {event_id: creative(auditor, event_id) for event_id in ("before", "while", "after")}
    for event in found.values():
        assert "sks jar of jam made slowly" in event["prompt"]
        assert event["concept_sha256"] == first.sha256
        assert event["concept_uri"] == ground.store.uri(first.key)
    assert await ground.store.list("parked/") == []

    await ground.register(registration(ground, "second", "jar of honey", hour=11))
    second = await until_current(ground, first.sha256)
    await ground.emit(naming("later"), naming("after"))
    await auditor.until(5)
    await auditor.settled()
    later = creative(auditor, "later")
    assert "sks jar of honey" in later["prompt"]
    assert later["concept_sha256"] == second.sha256
    report = await auditor.report()
    assert report.passed, report.violations
    assert report.repeats == 1, "the segment that came twice: the same bytes, though another concept is current"
    assert json.loads(auditor.values["event", "after"][1][1]) == found["after"]


async def test_a_lesson_of_many_waiting_segments_releases_them_all(ground, auditor):
    names = [f"waiting-{number}" for number in range(12)]
    await ground.emit(*(naming(name) for name in names))
    await until_parked(ground, 12)
    await ground.register(registration(ground, "first"))
    await auditor.until(12)
    await auditor.settled()
    first = await until_current(ground)
    assert {creative(auditor, name)["concept_sha256"] for name in names} == {first.sha256}
    report = await auditor.report()
    assert report.passed, report.violations
