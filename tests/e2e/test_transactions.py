"""Emitters with transactions. Only a real Kafka has them; the embedded broker does not."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from streams.cli.topic_reader import ReadingRange, topic_reader
from streams.kafka.lag import LagProbe
from streams.kafka.ledger import Partition
from tests.faults.events import segment_event

pytestmark = [pytest.mark.services, pytest.mark.parametrize("make_testbed", ["real"], indirect=True)]


def transaction(testbed, name, end):
    """Produce one event to partition 0 within a transaction, then end it. Returns the producer."""
    producer = Producer(
        {"bootstrap.servers": testbed.cluster.bootstrap_servers, "transactional.id": f"{testbed.name}-{name}"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    value = json.dumps(segment_event(f"{testbed.name}-{name}", f"segment-{name}"))
    producer.produce(testbed.input, value=value, key="k", partition=0)
    producer.flush(30)
    {"abort": producer.abort_transaction, "commit": producer.commit_transaction, "leave open": lambda _: None}[end](30)
    return producer


async def end_offset(testbed):
    consumer = AIOKafkaConsumer(bootstrap_servers=testbed.cluster.bootstrap_servers)
    await consumer.start()
    try:
        return (await consumer.end_offsets([TopicPartition(testbed.input, 0)]))[TopicPartition(testbed.input, 0)]
    finally:
        await consumer.stop()


async def lag(testbed):
    probe = LagProbe(testbed.settings.kafka, testbed.group)
    try:
        return sum((await probe.measure([Partition(testbed.input, number) for number in range(4)])).values())
    finally:
        await probe.close()


async def wait_for_no_lag(testbed, seconds=60):
    async with asyncio.timeout(seconds):
        while await lag(testbed):  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def test_only_committed_events_are_rendered_and_the_lag_reaches_zero(testbed, checker):
    await testbed.start_worker()
    await asyncio.to_thread(transaction, testbed, "aborted", "abort")
    await asyncio.to_thread(transaction, testbed, "committed", "commit")
    await testbed.emit(segment_event(f"{testbed.name}-plain", "segment-plain"))
    await checker.wait_for_outcomes(1)
    await wait_for_no_lag(testbed)
    await checker.check_commits()
    rendered = {event_id for kind, event_id in checker.copies if kind == "event"}
    assert rendered == {f"{testbed.name}-committed", f"{testbed.name}-plain"}
    assert await end_offset(testbed) >= 4  # two events and two markers, all before the committed offset


async def test_an_aborted_transaction_alone_leaves_no_lag(testbed):
    await testbed.start_worker()
    await asyncio.to_thread(transaction, testbed, "aborted", "abort")
    assert await end_offset(testbed) == 2
    await wait_for_no_lag(testbed)


async def test_an_open_transaction_holds_its_partition_until_it_ends(testbed, checker):
    await testbed.start_worker()
    producer = await asyncio.to_thread(transaction, testbed, "open", "leave open")
    await asyncio.sleep(5)
    await checker.check_commits()
    assert not checker.copies
    await asyncio.to_thread(producer.commit_transaction, 30)
    async with asyncio.timeout(60):
        while ("event", f"{testbed.name}-open") not in checker.copies:
            await asyncio.sleep(0.5)
            await checker.check_commits()
    await wait_for_no_lag(testbed)


async def watched(testbed, **wanted):
    """Return the ids of the events that a reader finds until the end."""
    async with (
        asyncio.timeout(20),
        topic_reader([testbed.input], testbed.settings, ReadingRange(until_end=True, **wanted)) as reader,
    ):
        return [(message.fields() or {})["event_id"] async for message in reader.messages()]


async def test_watching_stops_behind_the_markers_and_starts_at_a_time(testbed):
    name = testbed.name
    await testbed.emit(segment_event(f"{name}-old", "segment-old"))
    await asyncio.sleep(0.01)
    began = datetime.now(UTC)
    await asyncio.to_thread(transaction, testbed, "committed", "commit")
    await asyncio.to_thread(transaction, testbed, "aborted", "abort")
    assert set(await watched(testbed, from_beginning=True)) == {f"{name}-old", f"{name}-committed"}
    assert await watched(testbed, since=began) == [f"{name}-committed"]
    assert await watched(testbed, since=datetime.now(UTC)) == []
    assert f"{name}-committed" in await watched(testbed, partition=0, offset=0)
