"""Outputs, confirmed by the broker before anything is acked.

A producer of our own rather than Faust's: idempotent, acks=all, and it raises when a message was not written.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.events import DeadLetter
from streams.brokers import client_options
from streams.failures import BrokerUnavailable
from streams.messages import Headers, Outcome, RawEvent
from streams.settings import Settings
from streams.topics import dead

SIZE_LIMIT = 8 * 2**20  # bytes of one message: dead letters hold events as large as any broker lets in


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
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable."""
        await self._connected()

    async def stop(self) -> None:
        """Flush and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def publish(self, outcome: Outcome) -> None:
        """Write the outcome to its topic."""
        topic = getattr(self._settings.topics, outcome.topic)
        await self._send(topic, outcome.key, outcome.value, outcome.headers)

    async def bury(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
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
            await self._send(topic, raw.key, b"", (*reason, ("dead_value_omitted", b"too large for the broker")))

    async def _send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        producer = await self._connected()
        if key is None and value is None:
            value = b""  # Kafka takes no message without both
        try:
            await producer.send_and_wait(topic, value=value, key=key, headers=list(headers))
        except MessageSizeTooLargeError:
            raise
        except KafkaError as error:
            await self._discard(producer)
            raise BrokerUnavailable(servers=self._settings.kafka.bootstrap_servers, detail=repr(error)) from error

    async def _connected(self) -> AIOKafkaProducer:
        async with self._changing:
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
                except (KafkaError, OSError) as error:
                    await producer.stop()
                    raise BrokerUnavailable(servers=kafka.bootstrap_servers, detail=repr(error)) from error
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        """Drop a producer whose send failed: its sequence numbers may have a hole that the broker refuses for ever."""
        async with self._changing:
            current = self._producer is producer
            self._producer = None if current else self._producer
        if current:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), timeout=5.0)
