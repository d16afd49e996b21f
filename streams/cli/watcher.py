"""A topic as it grows: every message of every partition, without a consumer group, so that watching changes nothing."""

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

LARGEST = 64 * 2**20  # bytes of one fetch; dead letters hold events as large as any broker lets in


@dataclass(frozen=True)
class Seen:
    """One message as it stands in the topic. timestamp: milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def fields(self) -> dict[str, Any] | None:
        """Return the value's JSON object, None where it is none."""
        try:
            fields = json.loads(self.value or b"")
        except (ValueError, RecursionError):
            return None
        return fields if isinstance(fields, dict) else None

    def as_json(self, *, envelope: bool) -> str:
        """Return one line of JSON: the event itself, or (dead letters, and what is no object) all of the message."""
        fields = self.fields()
        if fields is None or envelope:
            fields = {
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "timestamp": self.timestamp,
                "key": _readable(self.key),
                "headers": {name: _readable(value) for name, value in self.headers},
                "value": _readable(self.value),
            }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _readable(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()


class Watcher:
    """A started consumer."""

    def __init__(self, consumer: AIOKafkaConsumer, servers: str) -> None:
        self._consumer = consumer
        self._servers = servers
        self.partitions = len(consumer.assignment())

    async def messages(self) -> AsyncIterator[Seen]:
        """Yield messages as they come, for ever. Raises BrokerUnavailable."""
        with broker_errors(self._servers):
            async for record in self._consumer:
                yield Seen(
                    record.topic,
                    record.partition,
                    record.offset,
                    record.timestamp,
                    record.key,
                    record.value,
                    tuple(record.headers),
                )


@asynccontextmanager
async def watcher(topics: list[str], settings: Settings, *, beginning: bool) -> AsyncIterator[Watcher]:
    """Start at the end of the topics (or their beginning); what is sent after this has entered will be seen.

    Raises BrokerUnavailable, TopicsMissing.
    """
    record_batches.install()
    servers = settings.kafka.bootstrap_servers
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(
        *topics,
        **options,
        auto_offset_reset="earliest" if beginning else "latest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=LARGEST,
    )
    try:
        with broker_errors(servers):
            await _exist(topics, options)
            await consumer.start()
            for place in consumer.assignment():
                await consumer.position(place)
        yield Watcher(consumer, servers)
    finally:
        await asyncio.shield(consumer.stop())


async def _exist(topics: list[str], options: dict[str, Any]) -> None:
    """Ask without naming them: a broker may create a topic that a consumer names. Raises TopicsMissing."""
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        missing = sorted(set(topics) - set(await admin.list_topics()))
    finally:
        await admin.close()
    if missing:
        raise TopicsMissing(detail=f"There is no topic {', '.join(missing)}.")
