"""A record that cannot be read ends as one dead letter, at the first attempt."""

import json
from dataclasses import replace

import pytest

from schemas.events import SegmentUpdated, Source
from streams.delivery_settings import DeliverySettings
from streams.failures import UnreadableRecord
from streams.kafka.decoding import EventLimits, decode
from streams.kafka.delivery import Delivery, Settlement
from streams.kafka.in_flight import raw_event
from streams.kafka.record_batches import Unreadable
from streams.messages import RawEvent
from streams.settings import Settings

EVENT = {"event_id": "e", "occurred_at": "2026-11-23T10:00:00Z", "segment_id": "s", "name": "coffee enthusiast"}
RAW = RawEvent(Source(topic="segment-updated", partition=1, offset=7), b"s", json.dumps(EVENT).encode())
REASON = "offsets 5 to 7 cannot be read (CorruptRecordException: Invalid CRC)"


LIMITS = EventLimits(Settings())


class Letters:
    """A publisher that keeps dead letters."""

    def __init__(self):
        self.written = []

    async def publish(self, outcome):
        raise AssertionError(outcome)

    async def dead_letter(self, raw, attempts, code, message):
        self.written.append((raw, attempts, code, message))


async def attempt(raw):
    return decode(raw, SegmentUpdated, LIMITS)


def test_only_the_reason_makes_a_record_unreadable():
    assert decode(RAW, SegmentUpdated, LIMITS).segment_id == "s"
    with pytest.raises(UnreadableRecord, match="offsets 5 to 7"):
        decode(replace(RAW, unreadable=REASON), SegmentUpdated, LIMITS)


async def test_it_is_dead_lettered_at_once_with_its_raw_bytes():
    letters, stopped = Letters(), []
    delivery = Delivery(letters, DeliverySettings(), stopped.append)
    unreadable = replace(RAW, value=b"\x00raw", unreadable=REASON)
    assert await delivery.settle(unreadable, attempt) is Settlement.DEAD_LETTERED
    assert letters.written == [(unreadable, 1, "unreadable_record", REASON)]
    assert stopped == []


@pytest.mark.parametrize("time", [None, -0.001])
def test_a_message_from_the_consumer_carries_the_reason(time):
    class Message:
        topic, partition, offset, key, headers, timestamp = "segment-updated", 1, 7, None, (), time
        value = Unreadable.of(b"\x00raw", 5, 7, ValueError("broken"))

    raw = raw_event(Message)
    assert (raw.value, raw.unreadable) == (b"\x00raw", "offsets 5 to 7 cannot be read (ValueError: broken)")
    assert raw.timestamp is None
