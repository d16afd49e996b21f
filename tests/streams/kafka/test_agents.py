import asyncio
from types import SimpleNamespace

import pytest

from schemas.events import Source
from streams.kafka.delivery import Settled
from streams.kafka.in_flight import InFlightEvents, raw_event
from streams.kafka.ledger import Ledger, Partition

TOPIC = "segment-updated"


class Message(SimpleNamespace):
    """What Faust hands us, as far as we look at it."""


def event(offset, partition=0, acks=None):
    message = Message(
        topic=TOPIC, partition=partition, offset=offset, key=b"k", value=b"v", headers=[("a", b"1")], timestamp=1.5
    )
    return SimpleNamespace(message=message, ack=lambda: acks.append((partition, offset)) if acks is not None else None)


class Script:
    """A delivery whose settling waits until the test lets it end."""

    def __init__(self):
        self.ends = {}
        self.started = []

    async def settle(self, raw, attempt):
        offset = raw.source.offset
        self.started.append(offset)
        return await self.ends.setdefault(offset, asyncio.get_running_loop().create_future())

    async def end(self, offset, settled=Settled.DONE):
        self.ends[offset].set_result(settled)
        for _ in range(4):
            await asyncio.sleep(0)


def make(window=8, concurrency=8, died=None):
    script = Script()
    return InFlightEvents(Ledger(window), script, concurrency, [].append if died is None else died.append), script


async def settle_down():
    for _ in range(4):
        await asyncio.sleep(0)


def test_a_message_keeps_its_bytes_headers_and_milliseconds():
    raw = raw_event(event(3).message)
    assert raw.source == Source(topic=TOPIC, partition=0, offset=3)
    assert (raw.key, raw.value, raw.headers, raw.timestamp) == (b"k", b"v", (("a", b"1"),), 1500)


async def test_events_are_acked_in_order_whatever_ends_first():
    in_flight, script = make()
    acks = []
    for offset in (0, 1, 2):
        await in_flight.take(event(offset, acks=acks), None)
    await settle_down()
    await script.end(2)
    await script.end(0)
    assert acks == [(0, 0)]
    await script.end(1)
    assert acks == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("settled", [Settled.DROPPED, Settled.FATAL])
async def test_what_did_not_end_is_never_acked_nor_is_anything_behind_it(settled):
    died = []
    in_flight, script = make(died=died)
    acks = []
    for offset in (0, 1):
        await in_flight.take(event(offset, acks=acks), None)
    await settle_down()
    await script.end(1)
    await script.end(0, settled)
    assert acks == []
    (reason,) = died
    assert str(reason).startswith(f"{TOPIC}[0]@0 ended without an outcome")
    assert settled.value in str(reason)


async def test_a_settling_that_raises_ends_the_worker_instead_of_wedging_its_partition():
    died = []
    in_flight, script = make(died=died)
    await in_flight.take(event(0), None)
    await settle_down()
    script.ends[0].set_exception(RuntimeError("a broken invariant"))
    await settle_down()
    assert "RuntimeError('a broken invariant')" in str(died[0])


async def test_a_job_cancelled_by_nobody_of_us_ends_the_worker():
    """A library's own cancelled future, awaited by an attempt, looks like that."""
    died = []
    in_flight, script = make(died=died)
    await in_flight.take(event(0), None)
    await settle_down()
    script.ends[0].cancel()
    await settle_down()
    assert "cancelled by nobody of us" in str(died[0])


async def test_jobs_that_are_given_up_end_no_worker():
    died = []
    in_flight, script = make(died=died)
    for offset in (0, 1):
        await in_flight.take(event(offset), None)
    await settle_down()
    in_flight.revoked([Partition(TOPIC, 0)])
    await script.end(0, Settled.DROPPED)
    in_flight.assigned([])
    await settle_down()
    await in_flight.take(event(2), None)
    await settle_down()
    await in_flight.drain(0.01)
    await settle_down()
    assert in_flight.running == 0
    assert died == []


async def test_the_oldest_event_is_known_while_it_waits():
    in_flight, script = make(concurrency=1)
    assert in_flight.oldest_seconds == 0.0
    await in_flight.take(event(0), None)
    await asyncio.sleep(0.05)
    await in_flight.take(event(1), None)
    assert 0.05 <= in_flight.oldest_seconds < 1
    await script.end(0)
    assert in_flight.oldest_seconds < 0.05


async def test_an_event_delivered_again_joins_the_running_job_and_its_new_delivery_is_acked():
    in_flight, script = make()
    old, new = [], []
    await in_flight.take(event(5, acks=old), None)
    await settle_down()
    in_flight.revoked([Partition(TOPIC, 0)])
    in_flight.assigned([Partition(TOPIC, 0)])
    await in_flight.take(event(5, acks=new), None)
    await settle_down()
    assert script.started == [5]
    await script.end(5)
    assert old == []
    assert new == [(0, 5)]


async def test_jobs_of_a_partition_that_moved_away_are_cancelled_and_others_go_on():
    in_flight, script = make()
    acks = []
    await in_flight.take(event(1, partition=0, acks=acks), None)
    await in_flight.take(event(2, partition=1, acks=acks), None)
    await settle_down()
    in_flight.revoked([Partition(TOPIC, 0), Partition(TOPIC, 1)])
    in_flight.assigned([Partition(TOPIC, 1)])
    await settle_down()
    assert script.ends[1].cancelled()
    assert in_flight.running == 1


async def test_an_event_that_comes_back_while_its_job_is_being_cancelled_gets_a_job_of_its_own():
    in_flight, script = make()
    acks = []
    await in_flight.take(event(5), None)
    await settle_down()
    in_flight.revoked([Partition(TOPIC, 0)])
    in_flight.assigned([])
    script.ends = {}
    await in_flight.take(event(5, acks=acks), None)
    await settle_down()
    assert script.started == [5, 5]
    await script.end(5)
    assert acks == [(0, 5)]
    assert in_flight.running == 0


async def test_no_more_than_the_set_number_are_worked_on_at_once():
    in_flight, script = make(concurrency=2)
    for offset in range(4):
        await in_flight.take(event(offset), None)
    await settle_down()
    assert script.started == [0, 1]
    await script.end(0)
    assert script.started == [0, 1, 2]


async def test_draining_finishes_what_runs_and_takes_nothing_more():
    in_flight, script = make()
    acks = []
    await in_flight.take(event(0, acks=acks), None)
    await settle_down()
    draining = asyncio.create_task(in_flight.drain(5.0))
    await settle_down()
    await in_flight.take(event(1, acks=acks), None)
    await script.end(0)
    await draining
    assert acks == [(0, 0)]
    assert script.started == [0]


async def test_draining_gives_up_at_its_deadline_and_leaves_the_rest_unacked():
    in_flight, script = make()
    acks = []
    await in_flight.take(event(0, acks=acks), None)
    await settle_down()
    await in_flight.drain(0.01)
    assert script.ends[0].cancelled()
    assert acks == []
    assert in_flight.running == 0
