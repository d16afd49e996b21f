"""Read every message of a topic as it arrives, without joining a consumer group."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from math import inf
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.cli.terminal import InputError
from streams.failures import TopicsMissing
from streams.kafka import record_batches
from streams.kafka.brokers import broker_errors, client_options
from streams.kafka.record_format import NO_TIMESTAMP
from streams.messages import Headers
from streams.printable import printable_json
from streams.settings import Settings

MAX_FETCH_BYTES = 64 * 2**20  # a dead letter is as large as the largest event the broker accepts
POLL_SECONDS, POLL_RECORDS = 0.5, 500


@dataclass(frozen=True)
class TopicMessage:
    """One message of a topic. timestamp: milliseconds since 1970, as the emitter wrote it: any integer. -1: none."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def time(self) -> datetime | None:
        """The timestamp as a UTC time. None if there is none, or if it is out of range."""
        try:
            return datetime.fromtimestamp(self.timestamp / 1000, UTC) if self.timestamp >= 0 else None
        except (ValueError, OverflowError, OSError):
            return None

    def fields(self) -> dict[str, Any] | None:
        """Return the value as a JSON object, None if it is not one."""
        try:
            fields = json.loads(self.value or b"")
        except (ValueError, RecursionError):
            return None
        return fields if isinstance(fields, dict) else None

    def as_json(self, *, envelope: bool) -> str:
        """Return a line of JSON: the event and its place as `_kafka`.

        Returns the whole message instead if `envelope` is set or the value is not an object.
        """
        time = self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z") if self.time else None
        place = {"topic": self.topic, "partition": self.partition, "offset": self.offset, "timestamp": self.timestamp}
        fields = self.fields()
        if fields is None or envelope:
            headers = {name: _as_text(value) for name, value in self.headers}
            content = {"key": _as_text(self.key), "headers": headers, "value": _as_text(self.value)}
            fields = {**place, "time": time, **content}
        else:
            fields["_kafka"] = {**place, "time": time}
        return printable_json(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def _as_text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()


@dataclass(frozen=True)
class ReadingRange:
    """Which messages a reader yields; the default is every message from now on.

    since: no message with an earlier timestamp; those without one are yielded. partition: no other partition.
    offset: the first one, in `partition`. until_end: nothing that arrives after the reader was opened.
    """

    from_beginning: bool = False
    since: datetime | None = None
    partition: int | None = None
    offset: int | None = None
    until_end: bool = False


class TopicReader:
    """A started consumer of every partition of some topics, or of one. ends: first offset that is not read."""

    def __init__(
        self, consumer: AIOKafkaConsumer, servers: str, since: datetime | None, ends: Mapping[TopicPartition, int]
    ) -> None:
        self._consumer = consumer
        self._servers = servers
        self._since = since.timestamp() * 1000 if since else -inf
        self._ends = ends
        self.partitions = len(_read_partitions(consumer))

    async def messages(self) -> AsyncIterator[TopicMessage]:
        """Yield messages as they arrive, until the end if the range has one. Raises BrokerUnavailable."""
        with broker_errors(self._servers):
            while not await self._is_at_end():
                found = await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=POLL_RECORDS)
                for record in chain.from_iterable(found.values()):
                    end = self._ends.get(TopicPartition(record.topic, record.partition), inf)
                    if record.offset < end and (record.timestamp == NO_TIMESTAMP or record.timestamp >= self._since):
                        yield TopicMessage(
                            record.topic,
                            record.partition,
                            record.offset,
                            record.timestamp,
                            record.key,
                            record.value,
                            tuple(record.headers),
                        )

    async def _is_at_end(self) -> bool:
        if not self._ends:
            return False
        return all([await self._consumer.position(pair) >= end for pair, end in self._ends.items()])


def _read_partitions(consumer: AIOKafkaConsumer) -> set[TopicPartition]:
    return set(consumer.assignment()) - set(consumer.paused())


@asynccontextmanager
async def topic_reader(
    topics: list[str], settings: Settings, wanted: ReadingRange | None = None
) -> AsyncIterator[TopicReader]:
    """Open a reader of the topics. It yields every message of the range that was sent or will be sent.

    Raises BrokerUnavailable, TopicsMissing, and InputError for a partition or offset that does not exist.
    """
    record_batches.install()
    _log_to_stderr()
    wanted = wanted or ReadingRange()
    servers = settings.kafka.bootstrap_servers
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(
        *topics,
        **options,
        auto_offset_reset="earliest" if wanted.from_beginning else "latest",
        enable_auto_commit=False,
        isolation_level=settings.kafka.isolation,
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
    )
    try:
        with broker_errors(servers):
            await _check_topics(topics, options)
            await consumer.start()
            await _go_to_start(consumer, wanted, embedded=settings.kafka.embedded)
            read = _read_partitions(consumer)
            ends = await consumer.end_offsets(read) if wanted.until_end else {}
        yield TopicReader(consumer, servers, wanted.since, ends)
    finally:
        await asyncio.shield(consumer.stop())


def _log_to_stderr() -> None:
    """Keep log lines out of the output: unless a command configures structlog, it prints them to stdout."""
    if isinstance(structlog.get_config()["logger_factory"], structlog.PrintLoggerFactory):
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


async def _go_to_start(consumer: AIOKafkaConsumer, wanted: ReadingRange, *, embedded: bool) -> None:
    """Pause the partitions that nobody wants, and seek to the first message of the others."""
    if wanted.partition is not None:
        others = {pair for pair in consumer.assignment() if pair.partition != wanted.partition}
        if others == consumer.assignment():
            raise InputError(f"There is no partition {wanted.partition}. The topic has {len(others)}, counted from 0.")
        consumer.pause(*others)
    read = _read_partitions(consumer)
    if wanted.offset is not None:
        [pair] = read
        await _check_offset(consumer, pair, wanted.offset)
        consumer.seek(pair, wanted.offset)
    elif wanted.since is not None and embedded:  # the embedded broker cannot look up times
        await consumer.seek_to_beginning(*read)
    elif wanted.since is not None:
        moment = int(wanted.since.timestamp() * 1000)
        for pair, found in (await consumer.offsets_for_times(dict.fromkeys(read, moment))).items():
            if found is None:
                await consumer.seek_to_end(pair)
            else:
                consumer.seek(pair, found.offset)
    for pair in read:
        await consumer.position(pair)


async def _check_offset(consumer: AIOKafkaConsumer, pair: TopicPartition, offset: int) -> None:
    """Raise InputError unless the partition holds the offset, or it is the next one."""
    first, end = (await consumer.beginning_offsets([pair]))[pair], (await consumer.end_offsets([pair]))[pair]
    if not first <= offset <= end:
        held = f"holds offsets {first} to {end - 1}" if first < end else f"is empty; its next offset is {end}"
        raise InputError(f"{pair.topic}[{pair.partition}] {held}. There is no offset {offset}.")


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
