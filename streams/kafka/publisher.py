"""Outputs, confirmed by the broker before anything is acked.

A producer of our own rather than Faust's: idempotent, acks=all, and it raises when a message was not written.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.events import DeadLetter
from streams.failures import BrokerUnavailable, MessageRefused
from streams.kafka.brokers import client_options
from streams.kafka.topics import dead
from streams.messages import Headers, Outcome, RawEvent
from streams.settings import Settings

SIZE_LIMIT = 8 * 2**20  # bytes of one message: dead letters hold events as large as any broker lets in
_KEY_LIMIT = 1024  # bytes of a key that a dead letter keeps where the event as a whole does not fit
_STOP_SECONDS = 10.0


def worker_version() -> str:
    """Return the installed version of this service."""
    try:
        return version("fluence-creatives")
    except PackageNotFoundError:
        return "unknown"


class Publisher:
    """Writes outcomes and dead letters; returns once the broker has them. Raises BrokerUnavailable to be retried."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable."""
        await self._connected()

    async def stop(self) -> None:
        """Flush and disconnect; at most `_STOP_SECONDS`, since what the broker does not confirm is never acked."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._leave(producer)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_STOP_SECONDS)

    async def publish(self, outcome: Outcome) -> None:
        """Write the outcome to its topic. Raises MessageRefused where the topic's limit is below any outcome's size."""
        topic = getattr(self._settings.topics, outcome.topic)
        try:
            await self._send(topic, outcome.key, outcome.value, outcome.headers)
        except MessageSizeTooLargeError as error:
            raise MessageRefused(topic=topic, size=len(outcome.value)) from error

    async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Write the dead letter: original key and bytes, and where, when and why in the headers."""
        letter = DeadLetter(
            **raw.source.model_dump(),
            timestamp=raw.timestamp,
            attempts=attempts,
            code=code,
            message=message,
            worker_version=worker_version(),
        )
        reason = tuple(
            (f"dead_{name}", str(value).encode()) for name, value in letter.model_dump(exclude_none=True).items()
        )
        original = tuple((name, value) for name, value in raw.headers if not name.startswith("dead_"))
        topic = dead(self._settings.topics, raw.source.topic)
        try:
            await self._send(topic, raw.key, raw.value, original + reason)
        except MessageSizeTooLargeError:
            # With our headers it no longer fits; the original stays where origin, partition and offset say.
            key, omitted = _fitting(raw.key)
            missing = ("dead_value_omitted", b"too large for the broker")
            await self._send(topic, key, b"", (*reason, missing, *omitted))

    async def _send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        producer = await self._connected()
        if key is None and value is None:
            value = b""  # Kafka takes no message without both
        try:
            await producer.send_and_wait(topic, value=value, key=key, headers=list(headers))
        except KafkaError as error:
            # Its sequence numbers may have a hole now, which the broker would refuse for ever.
            if self._producer is producer:
                self._producer = None
                self._leave(producer)
            if isinstance(error, MessageSizeTooLargeError):
                raise
            raise BrokerUnavailable(servers=self._settings.kafka.bootstrap_servers, detail=repr(error)) from error

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                kafka = self._settings.kafka
                producer = AIOKafkaProducer(
                    **client_options(kafka),
                    enable_idempotence=True,
                    acks="all",
                    max_request_size=SIZE_LIMIT,
                    request_timeout_ms=int(kafka.request_timeout * 1000),
                )
                try:
                    await producer.start()
                    self._producer = producer
                except (KafkaError, OSError) as error:
                    raise BrokerUnavailable(servers=kafka.bootstrap_servers, detail=repr(error)) from error
                finally:
                    if self._producer is not producer:  # refused, or we were cancelled meanwhile
                        await producer.stop()
            return self._producer

    def _leave(self, producer: AIOKafkaProducer) -> None:
        """Let a producer finish in its own time: cut short it would leave its sender and its sockets behind."""
        leaving = asyncio.create_task(_stopped(producer), name="producer-leaving")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


async def _stopped(producer: AIOKafkaProducer) -> None:
    with suppress(KafkaError):  # of messages that were never confirmed: their senders know
        await producer.stop()


def _fitting(key: bytes | None) -> tuple[bytes | None, Headers]:
    """Return the key where it is short; else none, and its length and digest as a header."""
    if key is None or len(key) <= _KEY_LIMIT:
        return key, ()
    said = f"{len(key)} bytes, sha256 {hashlib.sha256(key).hexdigest()}"
    return None, (("dead_key_omitted", said.encode()),)
