"""Parked segments on a store in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from streams.store.parked import expired_keys, park_segment, parked_keys, parked_segment
from streams.store.signed_objects import SignedObjects
from tests.fakes import MemoryStore
from tests.streams.store.signing import FOREIGN, HOSTILE, SIGNER
from tests.streams.world import segment


async def event_ids(signed: SignedObjects) -> list[str]:
    found = [await parked_segment(signed, key) for key in await parked_keys(signed, "jam")]
    return [event.event_id for event in found if event is not None]


async def test_the_keys_lead_to_the_segments(signed: SignedObjects) -> None:
    for number in range(3):
        await park_segment(signed, segment(f"s{number}"), "jam", f"r{number}")
    keys = await parked_keys(signed, "jam")
    assert keys == [f"parked/jam/r{number}.json" for number in range(3)]
    assert await parked_segment(signed, keys[1]) == segment("s1")
    assert await parked_keys(signed, "milk") == []


async def test_only_segments_that_wait_for_long_are_expired(store: MemoryStore, signed: SignedObjects) -> None:
    now = datetime.now(UTC)
    for product_id, days in (("jam", 31), ("jam", 29), ("milk", 40)):
        await park_segment(signed, segment(), product_id, f"r{days}")
        store.dates[f"parked/{product_id}/r{days}.json"] = now - timedelta(days=days)
    assert await expired_keys(signed, now - timedelta(days=30)) == ["parked/jam/r31.json", "parked/milk/r40.json"]


@pytest.mark.parametrize(
    "content",
    [
        *HOSTILE,
        segment("planted").to_json(),
        FOREIGN.sign("parked/jam/0.json", segment("planted").to_json()),
        SIGNER.sign("parked/jam/1.json", segment("copied").to_json()),
        SIGNER.sign("parked/jam/0.json", segment("other", product_id="milk").to_json()),
    ],
)
async def test_a_planted_object_is_skipped_and_hides_no_segment(
    content: bytes, store: MemoryStore, signed: SignedObjects
) -> None:
    await park_segment(signed, segment("s1"), "jam", "r-1")
    store.objects["parked/jam/0.json"] = content
    for _ in range(2):
        assert await event_ids(signed) == ["s1"]
    assert signed.invalid.count == 1


@pytest.mark.parametrize(
    "name", ["../x.json", "./x.json", "a//b.json", "x", "", "x.json.json", "é.json", "x" * 65 + ".json"]
)
async def test_a_key_that_no_parked_segment_has_is_not_even_read(
    name: str, store: MemoryStore, signed: SignedObjects
) -> None:
    """Some stores refuse to read keys with dots or empty parts, which would look like an outage."""
    await park_segment(signed, segment("s1"), "jam", "r-1")
    store.objects[f"parked/jam/{name}"] = b"planted"
    store.fail = lambda operation, key: None if (operation, key) != ("get", f"parked/jam/{name}") else 1 / 0
    assert await event_ids(signed) == ["s1"]
    assert await parked_keys(signed, "jam") == ["parked/jam/r-1.json"]


async def test_the_largest_segment_can_be_parked(signed: SignedObjects) -> None:
    words = "\N{SMILING FACE WITH SMILING EYES}" * 100
    quotes = 'a"\\' * 66
    phrases = [{"term": words, "en": quotes}]
    event = segment(
        name=words + "a",
        name_en=words + "a",
        description=words * 20,
        description_en=quotes * 20,
        keywords=[{"term": words, "weight": 1, "en": quotes}] * 200,
        interests=phrases * 100,
        brand={"name": words, "features": phrases * 50},
    )
    await park_segment(signed, event, "jam", "r-1")
    assert await parked_segment(signed, "parked/jam/r-1.json") == event
