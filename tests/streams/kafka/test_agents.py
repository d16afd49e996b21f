import asyncio
from types import SimpleNamespace

import pytest

from schemas.events import Source
from streams.kafka.delivery import Settlement
from streams.kafka.in_flight import InFlightEvents, raw_event
from streams.kafka.ledger import Ledger, Partition

TOPIC = "segment-updated"


class Message(SimpleNamespace):
    """The fields of a Faust message that the code reads."""


def event(offset, partition=0, acks=None):
    message = Message(
        topic=TOPIC, partition=partition, offset=offset, key=b"k", value=b"v", headers=[("a", b"1")], timestamp=1.5
    )
    return SimpleNamespace(message=message, ack=lambda: acks.append((partition, offset)) if acks is not None else None)


class ScriptedDelivery:
    """A delivery that settles an event when the test calls `end`."""

    def __init__(self):
        self.ends = {}
        self.started = []

    async def settle(self, raw, attempt, turns):
        offset = raw.source.offset
        async with turns:
            self.started.append(offset)
            return await self.ends.setdefault(offset, asyncio.get_running_loop().create_future())

    async def end(self, offset, settlement=Settlement.DONE):
        self.ends[offset].set_result(settlement)
        for _ in range(4):
            await asyncio.sleep(0)


def make(window=8, concurrency=8, reasons=None):
    script = ScriptedDelivery()
    return InFlightEvents(Ledger(window), script, concurrency, [].append if reasons is None else reasons.append), script


async def settle_down():
    for _ in range(4):
        await asyncio.sleep(0)


def test_a_raw_event_keeps_bytes_headers_and_milliseconds():
    raw = raw_event(event(3).message)
    assert raw.source == Source(topic=TOPIC, partition=0, offset=3)
    assert (raw.key, raw.value, raw.headers, raw.timestamp) == (b"k", b"v", (("a", b"1"),), 1500)


async def test_events_are_acked_in_order_whichever_ends_first():
    in_flight, script = make()
    acks = []
    for offset in (0, 1, 2):
        await in_flight.accept(event(offset, acks=acks), None)
    await settle_down()
    await script.end(2)
    await script.end(0)
    assert acks == [(0, 0)]
    await script.end(1)
    assert acks == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("settlement", [Settlement.DROPPED, Settlement.FATAL])
async def test_an_unsettled_event_stops_acks_and_the_worker(settlement):
    reasons = []
    in_flight, script = make(reasons=reasons)
    acks = []
    for offset in (0, 1):
        await in_flight.accept(event(offset, acks=acks), None)
    await settle_down()
    await script.end(1)
    await script.end(0, settlement)
    assert acks == []
    (reason,) = reasons
    assert str(reason).startswith(f"{TOPIC}[0]@0 ended without an outcome")
    assert settlement.value in str(reason)


async def test_a_delivery_that_raises_stops_the_worker():
    reasons = []
    in_flight, script = make(reasons=reasons)
    await in_flight.accept(event(0), None)
    await settle_down()
    script.ends[0].set_exception(RuntimeError("a broken invariant"))
    await settle_down()
    assert "RuntimeError('a broken invariant')" in str(reasons[0])


async def test_an_unexpected_cancellation_stops_the_worker():
    """An attempt that awaits a cancelled future of a library ends like this."""
    reasons = []
    in_flight, script = make(reasons=reasons)
    await in_flight.accept(event(0), None)
    await settle_down()
    script.ends[0].cancel()
    await settle_down()
    assert "cancelled unexpectedly" in str(reasons[0])


async def test_cancelled_events_do_not_stop_the_worker():
    reasons = []
    in_flight, script = make(reasons=reasons)
    for offset in (0, 1):
        await in_flight.accept(event(offset), None)
    await settle_down()
    in_flight.revoke([Partition(TOPIC, 0)])
    await script.end(0, Settlement.DROPPED)
    in_flight.keep_only([])
    await settle_down()
    await in_flight.accept(event(2), None)
    await settle_down()
    await in_flight.drain(0.01)
    await settle_down()
    assert in_flight.running == 0
    assert reasons == []


async def test_the_oldest_event_counts_while_it_waits():
    in_flight, script = make(concurrency=1)
    assert in_flight.oldest_seconds == 0.0
    await in_flight.accept(event(0), None)
    await asyncio.sleep(0.05)
    await in_flight.accept(event(1), None)
    assert 0.05 <= in_flight.oldest_seconds < 1
    await script.end(0)
    assert in_flight.oldest_seconds < 0.05


async def test_a_second_delivery_joins_the_running_event_and_is_acked():
    in_flight, script = make()
    old, new = [], []
    await in_flight.accept(event(5, acks=old), None)
    await settle_down()
    in_flight.revoke([Partition(TOPIC, 0)])
    in_flight.keep_only([Partition(TOPIC, 0)])
    await in_flight.accept(event(5, acks=new), None)
    await settle_down()
    assert script.started == [5]
    await script.end(5)
    assert old == []
    assert new == [(0, 5)]


async def test_events_of_a_lost_partition_are_cancelled_and_others_go_on():
    in_flight, script = make()
    acks = []
    await in_flight.accept(event(1, partition=0, acks=acks), None)
    await in_flight.accept(event(2, partition=1, acks=acks), None)
    await settle_down()
    in_flight.revoke([Partition(TOPIC, 0), Partition(TOPIC, 1)])
    in_flight.keep_only([Partition(TOPIC, 1)])
    await settle_down()
    assert script.ends[1].cancelled()
    assert in_flight.running == 1


async def test_an_event_delivered_again_during_its_cancellation_is_settled_again():
    in_flight, script = make()
    acks = []
    await in_flight.accept(event(5), None)
    await settle_down()
    in_flight.revoke([Partition(TOPIC, 0)])
    in_flight.keep_only([])
    script.ends = {}
    await in_flight.accept(event(5, acks=acks), None)
    await settle_down()
    assert script.started == [5, 5]
    await script.end(5)
    assert acks == [(0, 5)]
    assert in_flight.running == 0


async def test_concurrency_limits_the_events_in_progress():
    in_flight, script = make(concurrency=2)
    for offset in range(4):
        await in_flight.accept(event(offset), None)
    await settle_down()
    assert script.started == [0, 1]
    await script.end(0)
    assert script.started == [0, 1, 2]


async def test_draining_finishes_running_events_and_accepts_no_more():
    in_flight, script = make()
    acks = []
    await in_flight.accept(event(0, acks=acks), None)
    await settle_down()
    draining = asyncio.create_task(in_flight.drain(5.0))
    await settle_down()
    await in_flight.accept(event(1, acks=acks), None)
    await script.end(0)
    await draining
    assert acks == [(0, 0)]
    assert script.started == [0]


async def test_draining_cancels_at_its_deadline_and_acks_nothing_more():
    in_flight, script = make()
    acks = []
    await in_flight.accept(event(0, acks=acks), None)
    await settle_down()
    await in_flight.drain(0.01)
    assert script.ends[0].cancelled()
    assert acks == []
    assert in_flight.running == 0
