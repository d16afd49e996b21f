"""The current concept of a product, and the pinned concept of a request."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from streams.store.concepts import CurrentConcept, current_concept, make_current, pin_concept, pinned_concept
from streams.store.signed_objects import SignedObjects
from tests.fakes import MemoryStore
from tests.streams.store.signing import FOREIGN, HOSTILE, SIGNER
from tests.streams.world import NOON, concept

CURRENT, PINNED = "concepts/jam/current.json", "creatives/s/r/concept.json"


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
async def test_the_later_registration_is_current(
    first: CurrentConcept, second: CurrentConcept, winner: str, signed: SignedObjects
) -> None:
    await make_current(signed, first)
    await make_current(signed, second)
    current = await current_concept(signed, "jam")
    assert current is not None
    assert current.request_id == winner


async def test_a_pointer_from_the_future_pins_no_product(signed: SignedObjects) -> None:
    await make_current(signed, concept("planted", minutes=24 * 60, offset=2**62))
    latest = NOON + timedelta(hours=1)
    assert await current_concept(signed, "jam", latest) is None
    await make_current(signed, concept("trained"), latest)
    assert await current_concept(signed, "jam", latest) == concept("trained")
    await make_current(signed, concept("on-time", minutes=60), latest)
    assert await current_concept(signed, "jam", latest) == concept("on-time", minutes=60)


async def test_the_first_pinned_concept_of_a_request_stays(signed: SignedObjects) -> None:
    assert await pinned_concept(signed, "creatives/s/r/") is None
    assert await pin_concept(signed, "creatives/s/r/", concept("p1")) == concept("p1")
    assert await pin_concept(signed, "creatives/s/r/", concept("p2", minutes=1)) == concept("p1")
    assert await pinned_concept(signed, "creatives/s/r/") == concept("p1")


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
async def test_a_signed_pointer_with_other_content_counts_as_none(
    change: dict[str, object], store: MemoryStore, signed: SignedObjects
) -> None:
    """The second line of defence: a leaked key, or a mistake of an older version."""
    pointer = json.dumps(json.loads(concept("r").to_json()) | change).encode()
    store.objects[CURRENT] = SIGNER.sign(CURRENT, pointer)
    assert await current_concept(signed, "jam") is None
    await make_current(signed, concept("ours"))
    assert await current_concept(signed, "jam") == concept("ours")


@pytest.mark.parametrize("content", [*HOSTILE, concept("r").to_json(), FOREIGN.sign(CURRENT, concept("r").to_json())])
async def test_a_planted_pointer_counts_as_none(content: bytes, store: MemoryStore, signed: SignedObjects) -> None:
    store.objects |= {CURRENT: content, PINNED: content}
    assert await current_concept(signed, "jam") is None
    assert await pinned_concept(signed, "creatives/s/r/") is None
    await make_current(signed, concept("ours"))
    assert await pin_concept(signed, "creatives/s/r/", concept("ours")) == concept("ours")
    assert await current_concept(signed, "jam") == await pinned_concept(signed, "creatives/s/r/") == concept("ours")


async def test_a_pinned_pointer_is_not_valid_as_the_current_one(store: MemoryStore, signed: SignedObjects) -> None:
    """A bucket writer can copy an old pointer of ours, but only to its own key."""
    await pin_concept(signed, "creatives/s/r/", concept("old"))
    store.objects[CURRENT] = store.objects[PINNED]
    assert await current_concept(signed, "jam") is None


async def test_a_redelivery_repairs_a_pointer_that_names_its_request_but_other_content(signed: SignedObjects) -> None:
    await make_current(signed, concept("r", content=b"planted"))
    await make_current(signed, concept("r", content=b"ours"))
    assert await current_concept(signed, "jam") == concept("r", content=b"ours")
