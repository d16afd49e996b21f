import asyncio
import contextlib
import gc
import hashlib

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from schemas.events import Source
from streams.embedded import EmbeddedBroker
from streams.failures import BrokerUnavailable, MessageRefused
from streams.kafka import publisher as publisher_module
from streams.kafka.publisher import Publisher, worker_version
from streams.kafka.topics import dead_letter_topic
from streams.messages import Outcome, RawEvent
from streams.settings import Settings


@contextlib.asynccontextmanager
async def running(settings):
    publisher = Publisher(settings)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


async def read(settings, topic, count):
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


def raw(settings, **changes):
    fields = {
        "source": Source(topic=settings.topics.segment_updated, partition=2, offset=41),
        "key": b"coffee",
        "value": b"\xff\x00not json",
        "headers": (("traceparent", b"00-abc"), ("dead_code", b"old")),
        "timestamp": 1_700_000_000_123,
    }
    return RawEvent(**(fields | changes))


async def test_an_outcome_reaches_its_topic_unchanged(settings):
    async with running(settings) as publisher:
        await publisher.publish(Outcome("creative_ready", b"key", b'{"a":1}', (("ce_id", b"1"),)))
    (message,) = await read(settings, settings.topics.creative_ready, 1)
    assert (message.key, message.value, message.headers) == (b"key", b'{"a":1}', (("ce_id", b"1"),))


async def test_a_dead_letter_keeps_the_original_bytes_and_names_origin_and_reason(settings):
    async with running(settings) as publisher:
        await publisher.dead_letter(raw(settings), 3, "invalid_event", "name: Field required")
    (message,) = await read(settings, dead_letter_topic(settings.topics, settings.topics.segment_updated), 1)
    assert (message.key, message.value) == (b"coffee", b"\xff\x00not json")
    assert dict(message.headers) == {
        "traceparent": b"00-abc",
        "dead_topic": settings.topics.segment_updated.encode(),
        "dead_partition": b"2",
        "dead_offset": b"41",
        "dead_timestamp": b"1700000000123",
        "dead_attempts": b"3",
        "dead_code": b"invalid_event",
        "dead_message": b"name: Field required",
        "dead_worker_version": worker_version().encode(),
    }
    assert len(message.headers) == 9, "headers of an earlier dead letter are replaced"


async def test_a_tombstone_without_a_key_can_be_dead_lettered(settings):
    async with running(settings) as publisher:
        await publisher.dead_letter(raw(settings, key=None, value=None), 1, "invalid_event", "value: null")
    (message,) = await read(settings, dead_letter_topic(settings.topics, settings.topics.segment_updated), 1)
    assert not message.key
    assert not message.value


async def test_a_key_that_is_too_large_is_replaced_by_its_digest(settings):
    """The producer itself refuses a message above its limit."""
    key = b"k" * (8 * 2**20)
    async with running(settings) as publisher:
        await publisher.dead_letter(raw(settings, key=key), 1, "invalid_event", "too large")
    (message,) = await read(settings, dead_letter_topic(settings.topics, settings.topics.segment_updated), 1)
    headers = dict(message.headers)
    assert not message.key
    assert message.value == b""
    assert headers["dead_key_omitted"] == f"{len(key)} bytes, sha256 {hashlib.sha256(key).hexdigest()}".encode()
    assert headers["dead_offset"] == b"41"


async def test_an_event_too_large_for_a_dead_letter_is_kept_by_reference(settings):
    async with running(settings) as publisher:
        await publisher.dead_letter(raw(settings, value=b"x" * (8 * 2**20)), 1, "invalid_event", "too large")
    (message,) = await read(settings, dead_letter_topic(settings.topics, settings.topics.segment_updated), 1)
    assert (message.key, message.value) == (b"coffee", b"")
    headers = dict(message.headers)
    assert headers["dead_offset"] == b"41"
    assert headers["dead_value_omitted"] == b"too large for the broker"
    assert "dead_key_omitted" not in headers


async def test_an_outcome_that_is_too_large_for_its_topic_names_the_setting(settings):
    async with running(settings) as publisher:
        with pytest.raises(MessageRefused, match=r"max\.message\.bytes"):
            await publisher.publish(Outcome("creative_ready", b"key", b"x" * (8 * 2**20)))


@pytest.fixture
def broker():
    found = EmbeddedBroker({"creative-ready": 1})
    yield found
    found.stop()


def settings_for(broker):
    return Settings(kafka={"bootstrap_servers": broker.bootstrap_servers, "request_timeout": 0.5})


async def producers_stopped(publisher):
    while publisher._stopping:
        await asyncio.wait(publisher._stopping)


async def test_stop_does_not_wait_for_an_unreachable_broker(broker, monkeypatch):
    monkeypatch.setattr(publisher_module, "_STOP_SECONDS", 0.2)
    publisher = Publisher(Settings(kafka={"bootstrap_servers": broker.bootstrap_servers}))
    await publisher.publish(Outcome("creative_ready", b"key", b"{}"))
    broker.refuse_connections()
    sending = asyncio.create_task(publisher.publish(Outcome("creative_ready", b"key", b"{}")))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(2):
        await publisher.stop()
    assert not sending.done()
    assert publisher._stopping, "the producer still retries"
    broker.accept_connections()
    async with asyncio.timeout(20):
        await sending
        await producers_stopped(publisher)


async def test_a_replaced_producer_stops_in_the_background(broker):
    """It leaves neither a sender task nor an unclosed client, which would be a warning."""
    publisher = Publisher(settings_for(broker))
    await publisher.start()
    first = publisher._producer
    broker.refuse_connections()
    with pytest.raises(BrokerUnavailable):
        await publisher.publish(Outcome("creative_ready", b"key", b"{}"))
    assert publisher._producer is None
    broker.accept_connections()
    async with asyncio.timeout(20):
        await producers_stopped(publisher)
    assert first._sender.sender_task.done()
    assert not first.client._conns
    await publisher.stop()


async def test_a_cancelled_connection_is_closed(broker, monkeypatch):
    begun = asyncio.Event()
    start = AIOKafkaProducer.start

    async def slow(self):
        await start(self)
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(AIOKafkaProducer, "start", slow)
    publisher = Publisher(settings_for(broker))
    connecting = asyncio.create_task(publisher.start())
    await begun.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert publisher._producer is None
    gc.collect()  # an unclosed producer would be a warning, and so an error


async def test_a_failed_send_names_the_broker_and_the_next_one_uses_a_new_producer(settings, monkeypatch):
    async with running(settings) as publisher:
        first = publisher._producer

        async def fail(*_, **__):
            raise KafkaTimeoutError

        monkeypatch.setattr(first, "send_and_wait", fail)
        outcome = Outcome("creative_rejected", b"key", b"{}")
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(outcome)
        await publisher.publish(outcome)
        assert publisher._producer is not first
    assert len(await read(settings, settings.topics.creative_rejected, 1)) == 1


async def test_an_unreachable_broker_is_named():
    publisher = Publisher(Settings(kafka={"bootstrap_servers": "127.0.0.1:1"}))
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await publisher.start()
