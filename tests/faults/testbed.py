"""The testbed of one scenario: topics, a bucket, a consumer group and workers of its own, on a shared cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.kafka import topics
from streams.settings import Settings
from streams.store.s3 import MinioStore
from tests.faults.cluster import SIGNING_KEY
from tests.faults.events import SentRecord, event_id_of
from tests.faults.processes import WorkerProcess
from tests.faults.worker_settings import SHORT_TIMEOUTS, read_settings, without_project_variables


class Services(Protocol):
    """The part of a cluster that a testbed uses."""

    @property
    def bootstrap_servers(self) -> str: ...

    def environ(self) -> dict[str, str]: ...


class CoordinatorMoved(Exception):
    """The broker returned no committed offsets: another broker coordinates the group now, or none does yet."""


class Testbed:
    """Where one scenario runs.

    overrides: environment variables beside SHORT_TIMEOUTS. program: module and arguments of a worker.
    make_topics: creates the topics; embedded brokers have no admin interface for that.
    sent: every input. faults: the number of faults by kind.
    """

    __test__ = False  # pytest must not collect it for its name

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
        self.cluster: Any = cluster  # a Cluster in scenarios that stop servers
        own = {
            "CREATIVES_KAFKA__GROUP": f"{name}-group",
            "CREATIVES_STORAGE__BUCKET": name,
            "CREATIVES_STORAGE__SIGNING_KEYS": SIGNING_KEY,
            "CREATIVES_ROLE": "render",
            "CREATIVES_TOPICS__SEGMENT_UPDATED": f"{name}.segment-updated",
            "CREATIVES_TOPICS__PRODUCT_REGISTERED": f"{name}.product-registered",
            "CREATIVES_TOPICS__CREATIVE_READY": f"{name}.creative-ready",
            "CREATIVES_TOPICS__PRODUCT_READY": f"{name}.product-ready",
            "CREATIVES_TOPICS__CREATIVE_REJECTED": f"{name}.creative-rejected",
        }
        self.environ = {**cluster.environ(), **SHORT_TIMEOUTS, **own, **(overrides or {})}
        self.settings = read_settings(self.environ)
        self.store = MinioStore(read_settings({**self.environ, **cluster.environ(), **own}).storage)
        self.sent: list[SentRecord] = []
        self.workers: list[WorkerProcess] = []
        self.faults: dict[str, int] = {}
        self.disturbed_until = time.time()  # time of the last fault, or of the end of its outage
        self._producer: AIOKafkaProducer | None = None
        self._admin: AIOKafkaAdminClient | None = None  # reads committed offsets without joining the group

    async def __aenter__(self) -> Self:
        await retry(lambda: self.make_topics(self.direct_settings))
        await retry(self.store.make_bucket)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.cluster.bootstrap_servers, acks="all", max_request_size=8 * 2**20
        )
        await self._producer.start()
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap_servers, request_timeout_ms=10_000)
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            await worker.kill_all()
        assert self._producer
        assert self._admin
        await self._producer.stop()
        await self._admin.close()
        self.store.close()

    @property
    def direct_settings(self) -> Settings:
        """The settings that reach the services without a fault proxy."""
        return read_settings({**self.environ, **self.cluster.environ()})

    @property
    def trains(self) -> bool:
        """Whether the workers train on products; otherwise they render segments."""
        return self.settings.role == "train"

    @property
    def input(self) -> str:
        topics = self.settings.topics
        return topics.product_registered if self.trains else topics.segment_updated

    @property
    def output(self) -> str:
        topics = self.settings.topics
        return topics.product_ready if self.trains else topics.creative_ready

    @property
    def group(self) -> str:
        return f"{self.settings.kafka.group}-{self.settings.role}"

    def record_fault(self, kind: str, count: int = 1, at: float | None = None) -> None:
        """Count faults for the table. at: their time (as time.time()), by default now."""
        self.faults[kind] = self.faults.get(kind, 0) + count
        if count:
            self.disturbed_until = max(self.disturbed_until, at or time.time())

    def record_recovery(self) -> None:
        """Note that the outage of the last fault ends now."""
        self.disturbed_until = time.time()

    def injection_times(self) -> list[float]:
        """Return the times of the faults that tests/faults/fault_injection.py has injected, ascending."""
        return sorted(mark.stat().st_mtime for mark in self.folder.glob("injected-*"))

    def record_injected_faults(self, kind: str) -> int:
        """Count the injected faults as faults of this kind; return their number."""
        times = self.injection_times()
        for moment in times:
            self.record_fault(kind, at=moment)
        return len(times)

    async def start_worker(self, name: str = "worker", *, supervised: bool = True, **more: str) -> WorkerProcess:
        """Start a worker. supervised: start it again whenever it exits. more: environment variables."""
        environ = {
            **without_project_variables(os.environ),
            **self.environ,
            "FAULT_FOLDER": str(self.folder),
            "OMP_NUM_THREADS": "1",
            **more,
        }
        command = [sys.executable, "-m", *self.program]
        worker = WorkerProcess(name, command, environ, self.folder / f"{name}.log", supervised)
        self.workers.append(worker)
        await worker.start()
        return worker

    async def emit(self, *events: dict[str, object]) -> None:
        """Produce events and wait for the broker's confirmation."""
        key = "product_id" if self.trains else "segment_id"
        await self.produce(*((str(event[key]).encode(), json.dumps(event).encode()) for event in events))

    async def register(self, event: dict[str, object]) -> None:
        """Produce a product-registered event although the testbed's input is segments. Its outcome is not checked."""
        assert self._producer
        topic = self.settings.topics.product_registered
        await self._producer.send_and_wait(topic, json.dumps(event).encode(), str(event["product_id"]).encode())

    async def produce(self, *messages: tuple[bytes | None, bytes | None]) -> None:
        """Produce keys and values of any kind, wait for the confirmation and add them to `sent`."""
        assert self._producer
        futures = [await self._producer.send(self.input, value=value, key=key) for key, value in messages]
        for future, (key, value) in zip(futures, messages, strict=True):
            written = await future
            self.sent.append(SentRecord(self.input, written.partition, written.offset, event_id_of(value), key, value))

    async def committed_offsets(self) -> dict[int, int]:
        """Return the group's committed offset per partition, from its coordinator. Raises CoordinatorMoved."""
        assert self._admin
        wanted = [TopicPartition(self.input, number) for number in {sent.partition for sent in self.sent}]
        if not wanted:
            return {}
        found = await self._admin.list_consumer_group_offsets(self.group, partitions=wanted)
        if missing := set(wanted) - set(found):  # aiokafka ignores an error of the whole group
            raise CoordinatorMoved(missing)
        return {pair.partition: entry.offset for pair, entry in found.items() if entry.offset >= 0}

    def count_uncommitted(self, committed: dict[int, int]) -> int:
        """Return the number of inputs at or after these offsets."""
        return sum(sent.offset >= committed.get(sent.partition, 0) for sent in self.sent)


@contextlib.asynccontextmanager
async def admin(cluster: Services) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers, request_timeout_ms=10_000)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def retry(call: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Call until it succeeds: a cluster needs a while after a fault. Raises the last error after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await call()
        except Exception:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)
        else:
            return
