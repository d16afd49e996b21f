"""Parked segments on a store in memory."""

from __future__ import annotations

import pytest

from streams.store.parked import park_segment, parked_keys, parked_segments
from streams.store.signed_objects import SignedObjects
from tests.fakes import MemoryStore
from tests.streams.store.signing import FOREIGN, HOSTILE, SIGNER
from tests.streams.world import segment


async def event_ids(signed: SignedObjects) -> list[str]:
    return [event.event_id async for _, event in parked_segments(signed, "jam")]


async def test_parked_segments_are_read_one_at_a_time(store: MemoryStore, signed: SignedObjects) -> None:
    for number in range(5):
        await park_segment(signed, segment(f"s{number}"), "jam", f"r{number}")
    waiting = parked_segments(signed, "jam")
    key, event = await anext(waiting)
    assert (key, event) == ("parked/jam/r0.json", segment("s0"))
    assert [call for call in store.calls if call[0] == "get"] == [("get", "parked/jam/r0.json")]
    assert [event.event_id async for _, event in waiting] == ["s1", "s2", "s3", "s4"]


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
    assert [parked async for _, parked in parked_segments(signed, "jam")] == [event]
