"""The proving ground of one scenario: its own topics, bucket, group and workers on the shared cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.kafka import topics
from streams.settings import Settings
from streams.store.s3 import MinioStore
from tests.faults.pace import PACE, cleaned, read_settings
from tests.faults.processes import Worker


def segment(event_id: str, segment_id: str, name: str = "Coffee enthusiast") -> dict[str, object]:
    """Return a segment-updated event. Words such as `slowly` in the name steer the fake studio."""
    return {
        "event_id": event_id,
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": segment_id,
        "name": name,
        "description": f"People of {segment_id}",
        "keywords": [{"term": "espresso", "weight": 2.0}, {"term": segment_id.replace("-", " "), "weight": 1.0}],
    }


def flow(scenario: str, count: int, segments: int = 16) -> list[dict[str, object]]:
    """Return `count` events of `segments` segments, so that every partition gets some."""
    return [segment(f"{scenario}-{n:04d}", f"segment-{n % segments}") for n in range(count)]


@dataclass(frozen=True)
class Sent:
    """An input as Kafka has it. event_id: None for what is no event."""

    topic: str
    partition: int
    offset: int
    event_id: str | None
    key: bytes | None
    value: bytes | None

    @property
    def waits(self) -> bool:
        """Whether it is a segment that may be parked for its product."""
        return b'"segment_id"' in (self.value or b"") and b'"product_id"' in (self.value or b"")


class Services(Protocol):
    """What a ground needs of a cluster."""

    @property
    def bootstrap_servers(self) -> str: ...

    def environ(self) -> dict[str, str]: ...


class CoordinatorMoved(Exception):
    """The broker that was asked what a group has committed does not know, or does not know yet."""


class Ground:
    """One scenario's place.

    overrides: settings beside PACE, as environment variables. program: the workers' module and arguments.
    make_topics: how topics come into being where the broker's admin interface makes none.
    """

    def __init__(
        self,
        cluster: Services,
        name: str,
        folder: Path,
        overrides: dict[str, str] | None = None,
        program: tuple[str, ...] = ("tests.faults.worker",),
        make_topics: Callable[[Settings], Awaitable[object]] = topics.create,
    ) -> None:
        self.name = name
        self.program = program
        self.make_topics = make_topics
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster: Any = cluster  # scenarios that harm servers need a Cluster
        own = {
            "CREATIVES_KAFKA__GROUP": f"{name}-group",
            "CREATIVES_STORAGE__BUCKET": name,
            "CREATIVES_ROLE": "render",
            "CREATIVES_TOPICS__SEGMENT_UPDATED": f"{name}.segment-updated",
            "CREATIVES_TOPICS__PRODUCT_REGISTERED": f"{name}.product-registered",
            "CREATIVES_TOPICS__CREATIVE_READY": f"{name}.creative-ready",
            "CREATIVES_TOPICS__PRODUCT_READY": f"{name}.product-ready",
            "CREATIVES_TOPICS__CREATIVE_REJECTED": f"{name}.creative-rejected",
        }
        self.environ = {**cluster.environ(), **PACE, **own, **(overrides or {})}
        self.settings = read_settings(self.environ)
        self.store = MinioStore(read_settings({**self.environ, **cluster.environ(), **own}).storage)
        self.sent: list[Sent] = []
        self.workers: list[Worker] = []
        self.faults: dict[str, int] = {}
        self.harmed_until = time.time()  # the last fault, or the end of its outage
        self._producer: AIOKafkaProducer | None = None
        self._onlooker: AIOKafkaAdminClient | None = None  # never joins the group: it only asks what was committed

    async def __aenter__(self) -> Self:
        await patiently(lambda: self.make_topics(self.direct))
        await patiently(self.store.make_bucket)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.cluster.bootstrap_servers, acks="all", max_request_size=8 * 2**20
        )
        await self._producer.start()
        self._onlooker = AIOKafkaAdminClient(
            bootstrap_servers=self.cluster.bootstrap_servers, request_timeout_ms=10_000
        )
        await self._onlooker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            await worker.destroy()
        assert self._producer
        assert self._onlooker
        await self._producer.stop()
        await self._onlooker.close()
        self.store.close()

    @property
    def direct(self) -> Settings:
        """The settings without a fault proxy between us and the services."""
        return read_settings({**self.environ, **self.cluster.environ()})

    @property
    def teaches(self) -> bool:
        """Whether the workers learn products rather than draw segments."""
        return self.settings.role == "train"

    @property
    def input(self) -> str:
        topics = self.settings.topics
        return topics.product_registered if self.teaches else topics.segment_updated

    @property
    def output(self) -> str:
        topics = self.settings.topics
        return topics.product_ready if self.teaches else topics.creative_ready

    @property
    def group(self) -> str:
        return f"{self.settings.kafka.group}-{self.settings.role}"

    def fault(self, kind: str, count: int = 1, at: float | None = None) -> None:
        """Count a fault for the table. at: when it was (time.time()), where that is not now."""
        self.faults[kind] = self.faults.get(kind, 0) + count
        if count:
            self.harmed_until = max(self.harmed_until, at or time.time())

    def healed(self) -> None:
        """Say that what was away or unwell is well again, now."""
        self.harmed_until = time.time()

    def sprung(self) -> list[float]:
        """Return when each trap sprang that did (tests/faults/traps.py), in order."""
        return sorted(mark.stat().st_mtime for mark in self.folder.glob("trap-*"))

    def trapped(self, kind: str) -> int:
        """Count the traps that sprang as faults of this kind, each when it sprang; return how many."""
        times = self.sprung()
        for moment in times:
            self.fault(kind, at=moment)
        return len(times)

    async def worker(self, name: str = "worker", *, supervised: bool = True, **more: str) -> Worker:
        """Start a worker. more: its own environment variables."""
        environ = {
            **cleaned(os.environ),
            **self.environ,
            "FAULT_FOLDER": str(self.folder),
            "OMP_NUM_THREADS": "1",
            **more,
        }
        command = [sys.executable, "-m", *self.program]
        worker = Worker(name, command, environ, self.folder / f"{name}.log", supervised)
        self.workers.append(worker)
        await worker.start()
        return worker

    async def emit(self, *events: dict[str, object]) -> None:
        """Produce events, confirmed."""
        key = "product_id" if self.teaches else "segment_id"
        await self.produce(*((str(event[key]).encode(), json.dumps(event).encode()) for event in events))

    async def register(self, event: dict[str, object]) -> None:
        """Produce a product-registered event where the ground's own input is segments; it is not audited."""
        assert self._producer
        topic = self.settings.topics.product_registered
        await self._producer.send_and_wait(topic, json.dumps(event).encode(), str(event["product_id"]).encode())

    async def produce(self, *messages: tuple[bytes | None, bytes | None]) -> None:
        """Produce keys and values of any kind, confirmed and noted."""
        assert self._producer
        futures = [await self._producer.send(self.input, value=value, key=key) for key, value in messages]
        for future, (key, value) in zip(futures, messages, strict=True):
            written = await future
            self.sent.append(Sent(self.input, written.partition, written.offset, _event_id(value), key, value))

    async def committed(self) -> dict[int, int]:
        """Return the group's committed offset per partition, as the broker that coordinates it now has it."""
        assert self._onlooker
        wanted = [TopicPartition(self.input, number) for number in {sent.partition for sent in self.sent}]
        if not wanted:
            return {}
        found = await self._onlooker.list_consumer_group_offsets(self.group, partitions=wanted)
        if missing := set(wanted) - set(found):  # an error of the whole group, which aiokafka does not look at
            raise CoordinatorMoved(missing)
        return {pair.partition: entry.offset for pair, entry in found.items() if entry.offset >= 0}

    def beyond(self, committed: dict[int, int]) -> int:
        """Return how many of the inputs lie beyond these offsets."""
        return sum(sent.offset >= committed.get(sent.partition, 0) for sent in self.sent)


def _event_id(value: bytes | None) -> str | None:
    try:
        return str(json.loads(value or b"")["event_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


@contextlib.asynccontextmanager
async def admin(cluster: Services) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers, request_timeout_ms=10_000)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def patiently(call: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Call until it succeeds: a cluster that just got a fault may need a while."""
    until = time.monotonic() + seconds
    while True:
        try:
            await call()
        except Exception:  # whatever it is, the last one is raised
            if time.monotonic() > until:
                raise
            await asyncio.sleep(1)
        else:
            return
