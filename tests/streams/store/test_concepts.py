"""The current concept of a product, and the pinned concept of a request."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from streams.store.concepts import CurrentConcept, current_concept, make_current, pin_concept, pinned_concept
from tests.fakes import MemoryStore
from tests.streams.world import NOON, concept


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (concept("old"), concept("new", minutes=1), "new"),
        (concept("new", minutes=1), concept("old"), "new"),
        (concept("first", offset=3), concept("second", offset=9), "second"),
        (concept("second", offset=9), concept("first", offset=3), "second"),
        (concept("before", offset=3), concept("other-weights", offset=3), "other-weights"),
    ],
)
async def test_the_later_registration_is_current(first: CurrentConcept, second: CurrentConcept, winner: str) -> None:
    store = MemoryStore()
    await make_current(store, first)
    await make_current(store, second)
    current = await current_concept(store, "jam")
    assert current is not None
    assert current.request_id == winner


async def test_a_pointer_from_the_future_pins_no_product() -> None:
    store = MemoryStore()
    await make_current(store, concept("planted", minutes=24 * 60, offset=2**62))
    latest = NOON + timedelta(hours=1)
    assert await current_concept(store, "jam", latest) is None
    await make_current(store, concept("trained"), latest)
    assert await current_concept(store, "jam", latest) == concept("trained")
    await make_current(store, concept("on-time", minutes=60), latest)
    assert await current_concept(store, "jam", latest) == concept("on-time", minutes=60)


async def test_the_first_pinned_concept_of_a_request_stays() -> None:
    store = MemoryStore()
    assert await pinned_concept(store, "creatives/s/r/") is None
    assert await pin_concept(store, "creatives/s/r/", concept("p1")) == concept("p1")
    assert await pin_concept(store, "creatives/s/r/", concept("p2", minutes=1)) == concept("p1")
    assert await pinned_concept(store, "creatives/s/r/") == concept("p1")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../../../etc/cron.d/evil"},
        {"sha256": "f" * 300},
        {"key": "photos/someone-elses.png"},
        {"key": "concepts/jam/../../manifest.json"},
        {"class_noun": "jar " * 1000},
        {"placeholder_token": "<x>" * 1000},
        {"product_id": "milk"},
        {"key": "concepts/jam/r/concept-0000000000000000.safetensors"},
        {"key": "concepts/../x/concept-0000000000000000.safetensors"},
        {"request_id": "a/b"},
        {"offset": -1},
    ],
)
async def test_a_planted_pointer_counts_as_none(change: dict[str, object]) -> None:
    store = MemoryStore()
    pointer = json.loads(concept("r").to_json()) | change
    await store.put("concepts/jam/current.json", json.dumps(pointer).encode(), "application/json")
    assert await current_concept(store, "jam") is None
    await make_current(store, concept("ours"))
    assert await current_concept(store, "jam") == concept("ours")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b" " * 2**20])
async def test_a_pointer_that_is_no_pointer_counts_as_none(content: bytes) -> None:
    store = MemoryStore()
    await store.put("creatives/s/r/concept.json", content, "application/json")
    assert await pinned_concept(store, "creatives/s/r/") is None
    assert await pin_concept(store, "creatives/s/r/", concept("ours")) == concept("ours")


async def test_a_redelivery_repairs_a_pointer_that_names_its_request_but_other_content() -> None:
    store = MemoryStore()
    await make_current(store, concept("r", content=b"planted"))
    await make_current(store, concept("r", content=b"ours"))
    assert await current_concept(store, "jam") == concept("r", content=b"ours")
