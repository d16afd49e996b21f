"""What must hold after every scenario, read from the broker and the store alone: nothing is asked of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from tests.faults.ground import Ground, Sent, patiently
from tests.faults.processes import come_true

Fate = tuple[str, str]
"""How an outcome names its input: ("event", its id), or a dead letter's ("place", "partition@offset")."""


@dataclass
class Report:
    """One row of the fault table. repeats: more copies of an outcome, byte for byte; differing: copies that are not."""

    events: int = 0
    outcomes: int = 0
    lost: int = 0
    repeats: int = 0
    differing: int = 0
    orphans: int = 0
    pictures: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.lost or self.differing or self.orphans or self.violations)


class Auditor:
    """Reads every outcome topic of a ground and compares it with what was sent and what was committed."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        names = ground.settings.topics
        self._outputs = [ground.output, names.creative_rejected, f"{ground.input}{names.dead_suffix}"]
        self.values: dict[Fate, list[tuple[str, bytes]]] = defaultdict(list)
        self.reasons: dict[Fate, str] = {}
        self.violations: list[str] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.ground.cluster.bootstrap_servers, group_id=None, enable_auto_commit=False,
            auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 2**20,
        )  # fmt: skip
        await self._consumer.start()
        partitions = range(self.ground.settings.topics.partitions)
        self._consumer.assign([TopicPartition(name, number) for name in self._outputs for number in partitions])
        await self._consumer.seek_to_beginning()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching
        assert self._consumer
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._consumer.stop()

    async def _watch(self) -> None:
        """Compare commits with outcomes all the time, not only at the end."""
        while True:
            with contextlib.suppress(Exception):  # brokers go away on purpose; the last look is not forgiving
                await asyncio.wait_for(self.look(), 15)
            await asyncio.sleep(0.5)

    async def look(self) -> None:
        """Note what was committed first, then read the outcomes: whatever was committed must be terminal by now."""
        async with self._reading:
            committed = await self.ground.committed()
            await self._read()
            for sent in self.ground.sent:
                if sent.waits:  # committed once it is parked; that it comes to its end is for the report to say
                    continue
                if sent.offset < committed.get(sent.partition, 0) and not self.outcomes(sent):
                    text = f"{sent.event_id} [{sent.partition}]@{sent.offset} was committed without an outcome"
                    if text not in self.violations:
                        self.violations.append(text)

    async def _read(self) -> None:
        assert self._consumer
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    self._note(record)

    def _note(self, record: ConsumerRecord) -> None:
        topic, value = record.topic, record.value or b""
        if topic != self._outputs[2]:
            self.values["event", json.loads(value)["event_id"]].append((topic, value))
            return
        headers = {name: content.decode(errors="replace") for name, content in record.headers}
        place = f"{headers['dead_partition']}@{headers['dead_offset']}"
        self.reasons["place", place] = f"{headers.get('dead_code')}: {headers.get('dead_message')}"
        self.values["place", place].append((topic, value))

    async def report(self) -> Report:
        """Return the row once the ground is settled."""
        await patiently(self.look)
        report = Report(events=len(self.ground.sent), violations=list(self.violations))
        for sent in self.ground.sent:
            found = self.outcomes(sent)
            report.lost += not found
            report.outcomes += bool(found)
            if len(set(found)) > 1:
                report.differing += 1
                report.violations.append(f"{sent.event_id} [{sent.partition}]@{sent.offset}: different outcomes")
        for copies in self.values.values():
            report.repeats += len(copies) - len(set(copies))
        await self._objects(report)
        return report

    async def until(self, count: int, seconds: float = 90) -> None:
        """Wait until `count` inputs have an outcome. Raises TimeoutError."""
        await come_true(lambda: sum(bool(self.outcomes(sent)) for sent in self.ground.sent) >= count, seconds)

    def outcomes(self, sent: Sent) -> list[tuple[str, bytes]]:
        """Return every outcome of an input: those of its event, and the dead letters of its place."""
        place = ("place", f"{sent.partition}@{sent.offset}")
        event = ("event", sent.event_id or "")
        return self.values.get(event, []) + self.values.get(place, [])

    async def _objects(self, report: Report) -> None:
        """Compare the store with the outcomes: every set has its manifest and its outcome, every picture its bytes."""
        announced = {}
        for copies in self.values.values():
            for topic, value in copies:
                if topic == self._outputs[0]:
                    event = json.loads(value)
                    announced[self._prefix(event)] = event
        keys = await self._sets()
        for prefix in {key.rsplit("/", 1)[0] + "/" for key in keys}:
            if prefix not in announced or f"{prefix}manifest.json" not in keys:
                rejected = any(
                    prefix.split("/")[2] in str(value) for copies in self.values.values() for _, value in copies
                )
                if not (rejected and f"{prefix}manifest.json" in keys):
                    report.orphans += 1
                    report.violations.append(f"orphan objects under {prefix}")
        await asyncio.gather(*(self._compare(event, report) for event in announced.values()))

    def _prefix(self, event: dict) -> str:
        kind, name = ("concepts", "product_id") if self.ground.teaches else ("creatives", "segment_id")
        return f"{kind}/{event[name]}/{event['request_id']}/"

    async def _sets(self) -> list[str]:
        """Return the keys of every set of objects that is an outcome's."""
        store = self.ground.store
        if not self.ground.teaches:
            return await store.list("creatives/")
        return [key for key in await store.list("concepts/") if not key.endswith("/current.json")]

    async def _compare(self, event: dict, report: Report) -> None:
        for image in event["images"]:
            key = image["s3_uri"].split("/", 3)[3]
            content = await self.ground.store.get(key)
            digest = hashlib.sha256(content or b"").hexdigest()
            report.pictures[key] = digest
            if content is None or digest != image["sha256"]:
                report.violations.append(f"{key} is not what was announced")


@contextlib.asynccontextmanager
async def audited(ground: Ground) -> AsyncIterator[Auditor]:
    async with ground, Auditor(ground) as auditor:
        yield auditor
