"""Read every message of a topic as it arrives, without joining a consumer group."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from streams.failures import TopicsMissing
from streams.kafka import record_batches
from streams.kafka.brokers import broker_errors, client_options
from streams.messages import Headers
from streams.settings import Settings

MAX_FETCH_BYTES = 64 * 2**20  # a dead letter is as large as the largest event the broker accepts


@dataclass(frozen=True)
class TopicMessage:
    """One message of a topic. timestamp: milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def fields(self) -> dict[str, Any] | None:
        """Return the value as a JSON object, None if it is not one."""
        try:
            fields = json.loads(self.value or b"")
        except (ValueError, RecursionError):
            return None
        return fields if isinstance(fields, dict) else None

    def as_json(self, *, envelope: bool) -> str:
        """Return a line of JSON: the event, or the whole message if `envelope` is set or the value is not an object."""
        fields = self.fields()
        if fields is None or envelope:
            fields = {
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "timestamp": self.timestamp,
                "key": _as_text(self.key),
                "headers": {name: _as_text(value) for name, value in self.headers},
                "value": _as_text(self.value),
            }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _as_text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()


class TopicReader:
    """A started consumer of every partition of some topics."""

    def __init__(self, consumer: AIOKafkaConsumer, servers: str) -> None:
        self._consumer = consumer
        self._servers = servers
        self.partitions = len(consumer.assignment())

    async def messages(self) -> AsyncIterator[TopicMessage]:
        """Yield messages as they arrive, without end. Raises BrokerUnavailable."""
        with broker_errors(self._servers):
            async for record in self._consumer:
                yield TopicMessage(
                    record.topic,
                    record.partition,
                    record.offset,
                    record.timestamp,
                    record.key,
                    record.value,
                    tuple(record.headers),
                )


@asynccontextmanager
async def topic_reader(topics: list[str], settings: Settings, *, from_beginning: bool) -> AsyncIterator[TopicReader]:
    """Open a reader at the beginning or the end of the topics. The reader yields every message sent after that.

    Raises BrokerUnavailable, TopicsMissing.
    """
    record_batches.install()
    servers = settings.kafka.bootstrap_servers
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(
        *topics,
        **options,
        auto_offset_reset="earliest" if from_beginning else "latest",
        enable_auto_commit=False,
        isolation_level=settings.kafka.isolation,
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
    )
    try:
        with broker_errors(servers):
            await _check_topics(topics, options)
            await consumer.start()
            for partition in consumer.assignment():
                await consumer.position(partition)
        yield TopicReader(consumer, servers)
    finally:
        await asyncio.shield(consumer.stop())


async def _check_topics(topics: list[str], options: dict[str, Any]) -> None:
    """Raise TopicsMissing if a topic is missing. Lists all topics: a broker may create one requested by name."""
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        missing = sorted(set(topics) - set(await admin.list_topics()))
    finally:
        await admin.close()
    if missing:
        raise TopicsMissing(detail=f"There is no topic {', '.join(missing)}.")
