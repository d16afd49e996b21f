"""Segments that name a product, before its registration, during its training and after it.

Two workers, one per role, a broker and a store. The pictures of the fake device depend on the bytes of the concept file.
"""

# ruff: noqa: ASYNC110
import asyncio
import json

import pytest

from streams.store.concepts import CurrentConcept
from streams.store.keys import current_concept_key, parked_prefix
from tests.faults.events import segment_event
from tests.faults.invariants import InvariantChecker

JAM = "jam"
PHOTO = b"not a picture; the fake device does not open it"


def registration(testbed, event_id: str, noun: str = "jar of jam", hour: int = 10) -> dict[str, object]:
    return {
        "event_id": event_id,
        "occurred_at": f"2026-11-23T{hour}:00:00Z",
        "product_id": JAM,
        "name": "Malina",
        "class_noun": noun,
        "images": [testbed.store.uri(f"photos/jam/{number}.png") for number in (1, 2, 3)],
    }


def segment_with_product(event_id: str) -> dict[str, object]:
    return {**segment_event(event_id, f"segment-of-{event_id}"), "product_id": JAM}


@pytest.fixture
async def testbed(make_testbed, tmp_path):
    """Start two workers, one per role, each with its own disk."""
    async with make_testbed() as testbed:
        for number in (1, 2, 3):
            await testbed.store.put(f"photos/jam/{number}.png", PHOTO, "image/png")
        for role in ("render", "train"):
            more = {"CREATIVES_ROLE": role, "CREATIVES_TRAINING__WORKDIR": str(tmp_path / role), "FAKE_SLOW": "6"}
            await testbed.start_worker(role, **more)
        for worker in testbed.workers:
            await worker.wait_until_ready()
        yield testbed


@pytest.fixture
async def checker(testbed):
    async with InvariantChecker(testbed) as checker:
        yield checker


async def wait_until_parked(testbed, count: int) -> None:
    async with asyncio.timeout(60):
        while len(await testbed.store.list(parked_prefix(JAM))) < count:
            await asyncio.sleep(0.1)


async def wait_for_concept(testbed, before: str | None = None) -> CurrentConcept:
    """Wait until the product has a concept other than `before`; return it."""
    async with asyncio.timeout(60):
        while True:
            content = await testbed.store.get(current_concept_key(JAM))
            if content and (current := CurrentConcept.model_validate_json(content)).sha256 != before:
                return current
            await asyncio.sleep(0.1)


def creative(checker, event_id: str) -> dict:
    """Return the only outcome of a segment."""
    [(topic, value)] = checker.copies["event", event_id]
    assert topic.endswith("creative-ready")
    return json.loads(value)


async def test_a_segment_sent_before_during_or_after_training_gives_one_creative_with_the_product(testbed, checker):
    await testbed.emit(segment_with_product("before"))
    await wait_until_parked(testbed, 1)
    await testbed.register(registration(testbed, "first", "jar of jam made slowly"))
    await asyncio.sleep(2)  # the training takes 6 s
    assert await testbed.store.get(current_concept_key(JAM)) is None, "the training has not finished"
    await testbed.emit(segment_with_product("while"))
    await wait_until_parked(testbed, 2)
    await checker.wait_for_outcomes(2)
    first = await wait_for_concept(testbed)
    await testbed.emit(segment_with_product("after"))
    await checker.wait_for_outcomes(3)
    await checker.wait_for_zero_lag()
    found = {event_id: creative(checker, event_id) for event_id in ("before", "while", "after")}
    for event in found.values():
        assert "sks jar of jam made slowly" in event["prompt"]
        assert event["concept_sha256"] == first.sha256
        assert event["concept_uri"] == testbed.store.uri(first.key)
    assert await testbed.store.list("parked/") == []

    await testbed.register(registration(testbed, "second", "jar of honey", hour=11))
    second = await wait_for_concept(testbed, first.sha256)
    await testbed.emit(segment_with_product("later"), segment_with_product("after"))
    await checker.wait_for_outcomes(5)
    await checker.wait_for_zero_lag()
    later = creative(checker, "later")
    assert "sks jar of honey" in later["prompt"]
    assert later["concept_sha256"] == second.sha256
    report = await checker.report()
    assert report.passed, report.violations
    assert report.repeats == 1, "the repeated segment keeps its bytes although another concept is current"
    assert json.loads(checker.copies["event", "after"][1][1]) == found["after"]


async def test_a_training_job_releases_all_segments_that_wait_for_it(testbed, checker):
    names = [f"waiting-{number}" for number in range(12)]
    await testbed.emit(*(segment_with_product(name) for name in names))
    await wait_until_parked(testbed, 12)
    await testbed.register(registration(testbed, "first"))
    await checker.wait_for_outcomes(12)
    await checker.wait_for_zero_lag()
    first = await wait_for_concept(testbed)
    assert {creative(checker, name)["concept_sha256"] for name in names} == {first.sha256}
    report = await checker.report()
    assert report.passed, report.violations
