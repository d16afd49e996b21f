"""Faust's consumer without its thread, on the embedded broker. Each test guards a row of docs/decisions/0012."""
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition
from structlog.testing import capture_logs

from streams.app import create_app
from streams.embedded import EmbeddedBroker
from streams.kafka.consumer import Transport, _LoopConsumer
from streams.settings import Settings

TOPIC = "events"


class App(faust.App):
    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    found = EmbeddedBroker({TOPIC: 2})
    yield found
    found.stop()


def make_app(servers: str, tmp_path: Path, values: list[bytes]) -> App:
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

    async def consume(stream: Any) -> None:
        async for value in stream:
            values.append(value)

    app.agent(app.topic(TOPIC, value_type=bytes, value_serializer="raw", key_serializer="raw"))(consume)
    return app


async def produce(servers: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(TOPIC, b"%d" % number, partition=number % 2)
    await producer.stop()


async def start_app(servers: str, tmp_path: Path, count: int) -> tuple[App, list[bytes]]:
    """Return a running app that has consumed `count` events, and the list it adds values to."""
    values: list[bytes] = []
    await produce(servers, count)
    app = make_app(servers, tmp_path, values)
    async with asyncio.timeout(60):
        await app.start()
        while len(values) < count:
            await asyncio.sleep(0.05)
    return app, values


async def committed(servers: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id="group", enable_auto_commit=False)
    await consumer.start()
    found = [await consumer.committed(TopicPartition(TOPIC, number)) or 0 for number in range(2)]
    await consumer.stop()
    return sum(found)


async def test_the_app_consumes_and_commits_on_its_own_loop_and_stops_no_other_task(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    other_task = asyncio.create_task(asyncio.sleep(60))
    threads = set(threading.enumerate())
    app, values = await start_app(broker.bootstrap_servers, tmp_path, 10)
    async with asyncio.timeout(60):
        new = [thread.name for thread in threading.enumerate() if thread not in threads]
        assert not [name for name in new if not name.startswith("asyncio")], (
            "no thread but those of the loop's executor"
        )
        assert app.consumer._thread.thread_loop is asyncio.get_running_loop()
        await app.stop()
    assert not other_task.done()
    other_task.cancel()
    assert sorted(map(int, values)) == list(range(10))
    assert await committed(broker.bootstrap_servers) == 10


async def test_the_app_stops_in_time_without_a_broker(broker: EmbeddedBroker, tmp_path: Path) -> None:
    app, _ = await start_app(broker.bootstrap_servers, tmp_path, 2)
    broker.refuse_connections()
    await asyncio.sleep(1)  # until a fetch waits that no broker answers
    with capture_logs() as lines:
        async with asyncio.timeout(30):
            await app.stop()
    assert "could not leave the consumer group cleanly: no broker answers" in [line["event"] for line in lines]


async def test_a_call_goes_on_if_its_caller_is_cancelled(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer
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


async def test_a_cancelled_fetch_takes_no_record(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer
    kafka = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    partitions = {TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)}
    async with asyncio.timeout(60):
        await kafka.start()
        kafka.assign(partitions)
        consumer._thread._consumer, consumer.flow_active = kafka, True
        cancelled = asyncio.create_task(consumer._thread.getmany(partitions, 30.0))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await produce(broker.bootstrap_servers, 1)
        await asyncio.sleep(0.5)
        found = await consumer._thread.getmany(partitions, 5.0)
        await kafka.stop()
    assert [record.value for records in found.values() for record in records] == [b"0"]


async def test_starting_without_a_broker_raises(tmp_path: Path) -> None:
    app = make_app("127.0.0.1:9", tmp_path, [])
    with pytest.raises(Exception, match="Unable to bootstrap"):
        await asyncio.wait_for(app.consumer.start(), 30)


def test_the_service_uses_this_transport_and_the_loggers_of_faust() -> None:
    app = create_app(Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:9"}}))
    assert type(app.transport) is Transport
    assert app.transport.isolation == "read_committed"
    assert {app.consumer.logger.name, app.consumer._thread.logger.name} == {"faust.consumer"}


@pytest.mark.parametrize(
    ("fetched", "committed", "skipped"),
    [
        (None, None, 12),  # only markers so far
        (None, 5, 12),
        (10, 11, 12),  # one marker behind the last event, which is committed
        (10, 7, None),  # events 7 to 10 are unacked
        (11, 12, None),
    ],
)
async def test_only_what_holds_no_event_is_skipped(
    fetched: int | None, committed: int | None, skipped: int | None
) -> None:
    pair = TopicPartition("t", 0)
    subscriptions = SubscriptionState()
    subscriptions.subscribe({"t"})
    consumer = types.SimpleNamespace(
        _consumer=types.SimpleNamespace(_subscription=subscriptions),
        _last_fetched={} if fetched is None else {pair: fetched},
    )
    assert _LoopConsumer.skipped_to(consumer, {pair: committed}) == {}  # type: ignore[arg-type]
    subscriptions.assign_from_subscribed({pair})
    subscriptions.subscription.assignment.state_value(pair).reset_to(12)
    expected = {} if skipped is None else {pair: skipped}
    assert _LoopConsumer.skipped_to(consumer, {pair: committed}) == expected  # type: ignore[arg-type]
    subscriptions.begin_reassignment()
    consumer._last_fetched.clear()  # as `forget` does; the positions still lie behind unacked events
    assert _LoopConsumer.skipped_to(consumer, {pair: committed}) == {}  # type: ignore[arg-type]


async def test_a_message_with_room_is_delivered_with_one_task(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer
    delivered: list[set[asyncio.Task[Any]]] = []

    async def deliver() -> None:
        delivered.append(asyncio.all_tasks())

    before = asyncio.all_tasks()
    await consumer.wait_first(deliver(), consumer.suspend_flow.wait())
    assert [len(tasks - before) for tasks in delivered] == [1], "Faust makes four tasks"


async def test_a_sleep_of_no_seconds_is_one_turn_without_a_task(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer
    turns: list[set[asyncio.Task[Any]]] = []
    before = asyncio.all_tasks()
    asyncio.get_running_loop().call_soon(lambda: turns.append(asyncio.all_tasks()))
    await consumer.sleep(0)
    assert turns == [before]


async def test_a_message_without_room_waits_until_there_is_room_or_the_flow_ends(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer
    room, turns = asyncio.Event(), []

    async def deliver() -> str:
        try:
            await asyncio.sleep(0)
            turns.append("waits")
            await room.wait()
            await asyncio.sleep(0)
            turns.append("delivered")
        except asyncio.CancelledError:
            turns.append("cancelled")
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
        while turns[3:] != ["cancelled"]:
            await asyncio.sleep(0)


async def test_a_cancelled_wait_cancels_its_delivery(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer
    delivered: list[int] = []

    async def deliver() -> None:
        await asyncio.sleep(0)
        delivered.append(1)

    waiting = asyncio.create_task(consumer.wait_first(deliver(), consumer.suspend_flow.wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await asyncio.sleep(0.01)
    assert waiting.cancelled()
    assert delivered == []


async def test_an_error_of_a_delivery_is_raised(broker: EmbeddedBroker, tmp_path: Path) -> None:
    consumer = make_app(broker.bootstrap_servers, tmp_path, []).consumer

    async def deliver(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise LookupError

    for turns in range(3):
        with pytest.raises(LookupError):
            await consumer.wait_first(deliver(turns), consumer.suspend_flow.wait())


async def test_the_flow_stops_for_a_rebalance_and_goes_on(broker: EmbeddedBroker, tmp_path: Path) -> None:
    app, values = await start_app(broker.bootstrap_servers, tmp_path, 10)
    async with asyncio.timeout(60):
        app.consumer.stop_flow()
        await asyncio.sleep(1.5)  # beyond a fetch
        await produce(broker.bootstrap_servers, 4)
        app.consumer.resume_flow()
        while len(values) < 14:
            await asyncio.sleep(0.05)
        await app.stop()
    assert not app.crashed
    assert await committed(broker.bootstrap_servers) == 14
