"""Counts of confirmed outcomes and dead letters, and the latest creatives."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from streams.messages import Outcome, RawEvent
from streams.web.counting import CountingPublisher
from tests.streams.web.fake_view import SOURCE, STATE, rendered_outcome


async def test_only_confirmed_messages_are_counted(tmp_path: Path) -> None:
    class Inner:
        down = False

        async def publish(self, outcome: Outcome) -> None:
            if self.down:
                raise ConnectionError

        async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None: ...

    inner = Inner()
    publisher = CountingPublisher(inner)
    first, second = await rendered_outcome(tmp_path), await rendered_outcome(tmp_path, segment_id="other")
    for outcome in (first, second, first):
        await publisher.publish(outcome)
    await publisher.publish(Outcome("creative_ready", b"k", b'{"of": "another version"}'))
    await publisher.publish(Outcome("segment_updated", b"k", b"{}"))
    await publisher.dead_letter(RawEvent(SOURCE, None, None), 1, "invalid_event", "x")
    inner.down = True
    with pytest.raises(ConnectionError):
        await publisher.publish(first)
    assert publisher.outcomes == {"creative_ready": 4}, "a creative that the gallery cannot parse was still delivered"
    assert publisher.released == 1, "a parked segment that is sent again is an input, not an outcome"
    assert publisher.dead_letters == {"invalid_event": 1}
    assert [creative.segment_id for creative in publisher.latest] == ["other", "coffee"]
    shown = json.loads(
        json.dumps(asdict(replace(STATE, outcomes=publisher.outcomes, dead_letters=publisher.dead_letters)))
    )
    assert (shown["outcomes"], shown["dead_letters"]) == ({"creative_ready": 4}, {"invalid_event": 1})
