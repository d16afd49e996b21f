# ruff: noqa: ASYNC110
"""The lag probe on an embedded broker that goes down and comes up again."""

import asyncio
import contextlib

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from streams.embedded import EmbeddedBroker
from streams.kafka import lag
from streams.kafka.lag import LagProbe
from streams.kafka.ledger import Partition
from streams.runtime import Runtime
from streams.settings import KafkaSettings, Settings
from streams.web import state
from streams.web.state import unready_reasons

PARTITION = Partition("segment-updated", 0)


@pytest.fixture
def broker():
    found = EmbeddedBroker({"segment-updated": 1})
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lag, "_INTERVAL", 0.1)
    monkeypatch.setattr(lag, "_TIMEOUT", 0.5)


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(probe, partitions):
    task = asyncio.create_task(probe.follow(lambda: partitions))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await probe.close()


async def produce(broker, count):
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    for _ in range(count):
        await producer.send_and_wait("segment-updated", b"{}", partition=0)
    await producer.stop()


@pytest.mark.parametrize("partitions", [[PARTITION], []])
async def test_the_probe_notices_when_the_broker_goes_down_and_comes_up(broker, partitions):
    await produce(broker, 3)
    probe = LagProbe(KafkaSettings(bootstrap_servers=broker.bootstrap_servers), "g")
    async with following(probe, partitions):
        await asyncio.sleep(1)
        assert probe.unreachable_seconds == 0
        assert probe.lag_by_partition == ({"segment-updated[0]": 3} if partitions else {})
        broker.refuse_connections()
        await until(lambda: probe.unreachable_seconds, seconds=2)
        assert probe.lag_by_partition is None, "an unknown lag is not the last known one"
        await until(lambda: probe.unreachable_seconds > 1)
        before = probe.unreachable_seconds
        await asyncio.sleep(0.2)
        assert probe.unreachable_seconds >= before + 0.2
        broker.accept_connections()
        await produce(broker, 2)
        found = {"segment-updated[0]": 5} if partitions else {}
        await until(
            lambda: not probe.unreachable_seconds and probe.lag_by_partition == found
        )  # a probe may have come before the second message


def test_a_dead_broker_shows_within_five_seconds(monkeypatch):
    monkeypatch.undo()
    assert lag._INTERVAL + lag._TIMEOUT < 5


async def test_a_failed_probe_does_not_stop_the_next_one(broker, monkeypatch):
    probe = LagProbe(KafkaSettings(bootstrap_servers=broker.bootstrap_servers), "g")
    measure, calls = LagProbe.measure, []

    async def broken(self, partitions):
        calls.append(partitions)
        if len(calls) <= 3:
            raise AssertionError("an error in a library")
        return await measure(self, partitions)

    monkeypatch.setattr(LagProbe, "measure", broken)
    async with following(probe, [PARTITION]) as task:
        assert probe.lag_by_partition is None, "unknown before the first answer"
        await until(lambda: probe.unreachable_seconds)
        with capture_logs() as lines:
            await until(lambda: not probe.unreachable_seconds)
        assert "the broker answers again" in [line["event"] for line in lines]
        assert probe.lag_by_partition == {"segment-updated[0]": 0}
        assert not task.done()


async def test_a_worker_is_ready_only_with_an_assignment_and_a_broker(broker, monkeypatch):
    monkeypatch.setattr(state, "_GRACE", 0.1)
    kafka = {"bootstrap_servers": broker.bootstrap_servers}
    runtime = Runtime(Settings(kafka=kafka, storage={"endpoint": "http://127.0.0.1:1"}), "tests.fakes:serve", [].append)
    unassigned = "The consumer group has not assigned partitions yet."
    assert unassigned in unready_reasons(runtime.view.state())
    runtime.on_assigned([PARTITION])
    assert unassigned not in unready_reasons(runtime.view.state())
    runtime.on_revoked([PARTITION])
    assert unassigned in unready_reasons(runtime.view.state())
    runtime.on_assigned([PARTITION])
    async with following(runtime._lag, [PARTITION]):
        await until(lambda: runtime.view.state().lag)
        broker.refuse_connections()
        await until(
            lambda: any("The broker has not answered for" in reason for reason in unready_reasons(runtime.view.state()))
        )
