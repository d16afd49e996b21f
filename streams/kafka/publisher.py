"""Publishes outcomes and dead letters, and returns once the broker has confirmed them.

It uses its own producer instead of Faust's: idempotent, acks=all, and it raises if a message was not written.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.events import DeadLetter
from streams.failures import BrokerUnavailable, MessageRefused
from streams.kafka.brokers import client_options
from streams.kafka.topics import dead_letter_topic
from streams.messages import Headers, Outcome, RawEvent
from streams.settings import Settings

SIZE_LIMIT = 8 * 2**20  # bytes of one message; a dead letter holds an event as large as any broker accepts
_KEY_LIMIT = 1024  # bytes of a key that a dead letter keeps if the whole event does not fit
_STOP_SECONDS = 10.0


@cache  # each liveness probe asks, and must not need a free file descriptor
def worker_version() -> str:
    """Return the installed version of this service."""
    try:
        return version("fluence-creatives")
    except PackageNotFoundError:
        return "unknown"


class Publisher:
    """Writes outcomes and dead letters. Raises BrokerUnavailable, which callers retry."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._connect_lock = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable."""
        await self._connect()

    async def stop(self) -> None:
        """Flush and disconnect within `_STOP_SECONDS`. An event whose output stays unconfirmed is not acked."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._stop_later(producer)
        if self._stopping:
            await asyncio.wait(self._stopping, timeout=_STOP_SECONDS)

    async def publish(self, outcome: Outcome) -> None:
        """Write the outcome to its topic. Raises MessageRefused if it is larger than the topic allows."""
        topic = getattr(self._settings.topics, outcome.topic)
        try:
            await self._send(topic, outcome.key, outcome.value, outcome.headers)
        except MessageSizeTooLargeError as error:
            raise MessageRefused(topic=topic, size=len(outcome.value)) from error

    async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Write the dead letter: the original key and bytes, with origin, time and reason in the headers."""
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
        topic = dead_letter_topic(self._settings.topics, raw.source.topic)
        try:
            await self._send(topic, raw.key, raw.value, original + reason)
        except MessageSizeTooLargeError:
            # With the headers added it no longer fits. The original stays at the topic, partition and offset they name.
            key, omitted = _short_key(raw.key)
            missing = ("dead_value_omitted", b"too large for the broker")
            await self._send(topic, key, b"", (*reason, missing, *omitted))

    async def _send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        producer = await self._connect()
        if key is None and value is None:
            value = b""  # aiokafka refuses a message that has neither
        try:
            await producer.send_and_wait(topic, value=value, key=key, headers=list(headers))
        except KafkaError as error:
            # A gap in its sequence numbers would make the broker refuse every later message of this producer.
            if self._producer is producer:
                self._producer = None
                self._stop_later(producer)
            if isinstance(error, MessageSizeTooLargeError):
                raise
            raise BrokerUnavailable(servers=self._settings.kafka.bootstrap_servers, detail=repr(error)) from error

    async def _connect(self) -> AIOKafkaProducer:
        async with self._connect_lock:
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
                    if self._producer is not producer:  # the start failed or was cancelled
                        await producer.stop()
            return self._producer

    def _stop_later(self, producer: AIOKafkaProducer) -> None:
        """Stop a producer in the background. Cancelled halfway, it would leave its sender task and sockets open."""
        task = asyncio.create_task(_stop(producer), name="producer-stop")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


async def _stop(producer: AIOKafkaProducer) -> None:
    with suppress(KafkaError):  # messages that were never confirmed; their `_send` has raised
        await producer.stop()


def _short_key(key: bytes | None) -> tuple[bytes | None, Headers]:
    """Return the key if it is short; otherwise None, with its length and digest as a header."""
    if key is None or len(key) <= _KEY_LIMIT:
        return key, ()
    digest = f"{len(key)} bytes, sha256 {hashlib.sha256(key).hexdigest()}"
    return None, (("dead_key_omitted", digest.encode()),)
