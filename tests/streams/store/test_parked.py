"""Parked segments on a store in memory."""

from __future__ import annotations

import pytest

from streams.store.parked import park_segment, parked_segments
from tests.fakes import MemoryStore
from tests.streams.world import segment


async def test_parked_segments_are_read_one_at_a_time() -> None:
    store = MemoryStore()
    for number in range(5):
        await park_segment(store, segment(f"s{number}"), "jam", f"r{number}")
    waiting = parked_segments(store, "jam")
    key, event = await anext(waiting)
    assert (key, event.event_id) == ("parked/jam/r0.json", "s0")
    assert [call for call in store.calls if call[0] == "get"] == [("get", "parked/jam/r0.json")]
    assert [event.event_id async for _, event in waiting] == ["s1", "s2", "s3", "s4"]


@pytest.mark.parametrize("content", [b"garbage", b"{}", b" " * 2**21])
async def test_a_planted_object_does_not_hide_the_segments_behind_it(content: bytes) -> None:
    store = MemoryStore()
    await park_segment(store, segment("s1"), "jam", "r-1")
    store.objects["parked/jam/0.json"] = content
    assert [event.event_id async for _, event in parked_segments(store, "jam")] == ["s1"]
