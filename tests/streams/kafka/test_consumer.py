"""Faust's consumer without its thread, against the embedded broker."""
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from structlog.testing import capture_logs

from streams.app import CreativesApp
from streams.embedded import EmbeddedBroker
from streams.kafka.consumer import Transport

TOPIC = "events"


class App(faust.App):
    _new_transport = CreativesApp._new_transport


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    found = EmbeddedBroker({TOPIC: 2})
    yield found
    found.stop()


def app_on(servers: str, tmp_path: Path, taken: list[bytes]) -> App:
    app = App(
        "group",
        broker=f"aiokafka://{servers}",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        broker_commit_interval=0.1,
        datadir=str(tmp_path),
    )

    async def take(stream: Any) -> None:
        async for value in stream:
            taken.append(value)

    app.agent(app.topic(TOPIC, value_type=bytes, value_serializer="raw", key_serializer="raw"))(take)
    return app


async def produce(servers: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(TOPIC, b"%d" % number, partition=number % 2)
    await producer.stop()


async def busy(servers: str, tmp_path: Path, count: int) -> tuple[App, list[bytes]]:
    """Return a started app that has taken `count` events, and what it took; it goes on."""
    taken: list[bytes] = []
    await produce(servers, count)
    app = app_on(servers, tmp_path, taken)
    async with asyncio.timeout(60):
        await app.start()
        while len(taken) < count:
            await asyncio.sleep(0.05)
    return app, taken


async def committed(servers: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id="group", enable_auto_commit=False)
    await consumer.start()
    found = [await consumer.committed(TopicPartition(TOPIC, number)) or 0 for number in range(2)]
    await consumer.stop()
    return sum(found)


async def test_events_are_taken_and_committed_on_the_loop_of_the_app_and_stopping_leaves_the_loop_alone(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    mine = asyncio.create_task(asyncio.sleep(60))
    threads = set(threading.enumerate())
    app, taken = await busy(broker.bootstrap_servers, tmp_path, 10)
    async with asyncio.timeout(60):
        new = [thread.name for thread in threading.enumerate() if thread not in threads]
        assert not [name for name in new if not name.startswith("asyncio")], "nobody but the loop's own executor"
        assert app.consumer._thread.thread_loop is asyncio.get_running_loop()
        await app.stop()
    assert not mine.done()
    mine.cancel()
    assert sorted(map(int, taken)) == list(range(10))
    assert await committed(broker.bootstrap_servers) == 10


async def test_an_app_ends_soon_where_the_broker_is_gone_for_good(broker: EmbeddedBroker, tmp_path: Path) -> None:
    app, _ = await busy(broker.bootstrap_servers, tmp_path, 2)
    broker.down()
    await asyncio.sleep(1)  # until a fetch is under way that nobody answers
    with capture_logs() as lines:
        async with asyncio.timeout(30):
            await app.stop()
    assert "could not leave the consumer group cleanly: no broker answers" in [line["event"] for line in lines]


async def test_a_call_goes_on_where_its_caller_gives_up(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = app_on(broker.bootstrap_servers, tmp_path, []).consumer
    begun, done = asyncio.Event(), asyncio.Event()

    async def commit(word: str) -> str:
        begun.set()
        await asyncio.sleep(0.01)
        done.set()
        return word

    assert await consumer._thread.call_thread(commit, "written") == "written"
    begun.clear()
    done.clear()
    caller = asyncio.create_task(consumer._thread.call_thread(commit, "written"))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(done.wait(), 5)


async def test_a_fetch_that_is_given_up_takes_no_record(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = app_on(broker.bootstrap_servers, tmp_path, []).consumer
    kafka = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    partitions = {TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)}
    async with asyncio.timeout(60):
        await kafka.start()
        kafka.assign(partitions)
        consumer._thread._consumer, consumer.flow_active = kafka, True
        given_up = asyncio.create_task(consumer._thread.getmany(partitions, 30.0))
        await asyncio.sleep(0.1)
        given_up.cancel()
        await asyncio.wait({given_up})
        await produce(broker.bootstrap_servers, 1)
        await asyncio.sleep(0.5)
        found = await consumer._thread.getmany(partitions, 5.0)
        await kafka.stop()
    assert [record.value for records in found.values() for record in records] == [b"0"]


async def test_a_broker_that_is_not_there_is_told_to_who_starts(tmp_path: Path) -> None:
    app = app_on("127.0.0.1:9", tmp_path, [])
    with pytest.raises(Exception, match="Unable to bootstrap"):
        await asyncio.wait_for(app.consumer.start(), 30)


def test_the_service_uses_it_and_its_lines_stay_fausts() -> None:
    app = CreativesApp("group", broker="aiokafka://127.0.0.1:9")
    assert type(app.transport) is Transport
    assert {app.consumer.logger.name, app.consumer._thread.logger.name} == {"faust.consumer"}


async def test_a_message_there_is_room_for_is_delivered_at_once(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = app_on(broker.bootstrap_servers, tmp_path, []).consumer
    delivered: list[set[asyncio.Task[Any]]] = []

    async def deliver() -> None:
        delivered.append(asyncio.all_tasks())

    before = asyncio.all_tasks()
    await consumer.wait_first(deliver(), consumer.suspend_flow.wait())
    assert [len(tasks - before) for tasks in delivered] == [1], "Faust makes four tasks"


async def test_one_that_has_to_wait_is_delivered_when_there_is_room_or_given_up_when_the_flow_ends(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    consumer = app_on(broker.bootstrap_servers, tmp_path, []).consumer
    room, turns = asyncio.Event(), []

    async def deliver() -> str:
        try:
            await asyncio.sleep(0)
            turns.append("waits")
            await room.wait()
            await asyncio.sleep(0)
            turns.append("delivered")
        except asyncio.CancelledError:
            turns.append("given up")
            raise
        return "delivered"

    async with asyncio.timeout(30):
        waiting = asyncio.create_task(consumer.wait_first(deliver(), consumer.suspend_flow.wait()))
        while turns != ["waits"]:
            await asyncio.sleep(0)
        assert not waiting.done()
        room.set()
        assert (await waiting).results == ["delivered"]
        assert turns == ["waits", "delivered"]
        room.clear()
        waiting = asyncio.create_task(consumer.wait_first(deliver(), consumer.suspend_flow.wait()))
        await asyncio.sleep(0.01)
        consumer.suspend_flow.set()
        await waiting
        while turns[3:] != ["given up"]:
            await asyncio.sleep(0)


async def test_a_message_that_cannot_be_delivered_says_so(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = app_on(broker.bootstrap_servers, tmp_path, []).consumer

    async def deliver(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise LookupError

    for turns in range(3):
        with pytest.raises(LookupError):
            await consumer.wait_first(deliver(turns), consumer.suspend_flow.wait())


async def test_the_flow_stops_for_a_rebalance_and_goes_on(broker: EmbeddedBroker, tmp_path: Path) -> None:
    app, taken = await busy(broker.bootstrap_servers, tmp_path, 10)
    async with asyncio.timeout(60):
        app.consumer.stop_flow()
        await asyncio.sleep(1.5)  # beyond a fetch
        await produce(broker.bootstrap_servers, 4)
        app.consumer.resume_flow()
        while len(taken) < 14:
            await asyncio.sleep(0.05)
        await app.stop()
    assert not app.crashed
    assert await committed(broker.bootstrap_servers) == 14
