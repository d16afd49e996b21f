"""What must hold after every scenario, read from the broker and the store alone: nothing is asked of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from tests.faults.ground import Ground, Sent, patiently
from tests.faults.processes import come_true

Fate = tuple[str, str]
"""How an outcome names its input: ("event", its id), or a dead letter's ("place", "partition@offset")."""

Envelope = tuple[bytes | None, tuple[tuple[str, bytes], ...]]
"""Key and headers of a copy, without those of BURIER."""

BURIER = {"dead_attempts", "dead_message"}
"""Headers that tell what the worker that buried went through: two that bury the same event may have tried less or more."""


@dataclass
class Report:
    """One row of the fault table. repeats: more copies of an outcome, byte for byte; differing: inputs whose are not."""

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
    """Reads every outcome topic of a ground and compares it with what was sent and what was committed.

    values: topic and value of every copy of an outcome; envelopes: the different keys and headers of these copies.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        names = ground.settings.topics
        self._outputs = [ground.output, names.creative_rejected, f"{ground.input}{names.dead_suffix}"]
        self.values: dict[Fate, list[tuple[str, bytes]]] = defaultdict(list)
        self.envelopes: dict[Fate, set[Envelope]] = defaultdict(set)
        self.reasons: dict[Fate, str] = {}
        self.violations: list[str] = []
        self._lag = -1
        self._served = 0  # how many inputs there were when the lag was 0
        self._quiet_since: float | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.ground.cluster.bootstrap_servers, group_id=None, enable_auto_commit=False,
            auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 2**20,
        )  # fmt: skip
        await self._consumer.start()
        await self.follow(self.ground.settings.topics.partitions)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching
        assert self._consumer
        self._closed = True  # a client in mid-call may swallow the cancellation
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._consumer.stop()

    async def follow(self, partitions: int) -> None:
        """Read this many partitions of every outcome topic, each from where we are."""
        assert self._consumer
        async with self._reading:
            places = {place: await self._consumer.position(place) for place in self._consumer.assignment()}
            self._consumer.assign([TopicPartition(name, n) for name in self._outputs for n in range(partitions)])
            for place in self._consumer.assignment():
                self._consumer.seek(place, places.get(place, 0))

    async def _watch(self) -> None:
        """Compare commits with outcomes all the time, not only at the end."""
        while not self._closed:
            with contextlib.suppress(Exception):  # brokers go away on purpose; the last look is not forgiving
                await asyncio.wait_for(self.look(), 15)
            await asyncio.sleep(0.5)

    async def look(self) -> None:
        """Note what was committed first, then read the outcomes: whatever was committed must be terminal by now."""
        async with self._reading:
            committed = await self.ground.committed()
            moment = time.time()
            await self._read()
            for sent in self.ground.sent:
                if sent.waits:  # committed once it is parked; that it comes to its end is for the report to say
                    continue
                if sent.offset < committed.get(sent.partition, 0) and not self.outcomes(sent):
                    self.demand(False, f"{_named(sent)} was committed without an outcome")
            self._lag = self.ground.beyond(committed)
            if self._lag:
                self._quiet_since = None
            elif self._quiet_since is None or self._served < len(self.ground.sent):
                self._quiet_since, self._served = moment, len(self.ground.sent)

    def demand(self, held: bool, otherwise: str) -> None:
        """Note a violation, once, unless it holds."""
        if not held and otherwise not in self.violations:
            self.violations.append(otherwise)

    def demand_that_workers_stood(self) -> None:
        """Note every worker that ended by itself: one that is started again loses nothing, so only this tells."""
        for worker in self.ground.workers:
            for code in worker.exits:
                self.demand(code <= 0, f"{worker.name} ended by itself with {code}")

    async def settled(self, seconds: float = 120) -> float:
        """Wait until the broker-side lag is 0; return the seconds that took since the last fault or its outage's end.

        0.0 where nothing was waiting then any more. An input that was committed has its outcome or is a violation, so
        a lag of 0 without one means that every outcome is there. Raises TimeoutError with the lag.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(Exception):  # a broker that is away, on purpose
                await asyncio.wait_for(self.look(), 20)
                if self._quiet_since is not None:
                    return max(0.0, self._quiet_since - self.ground.harmed_until)
            await asyncio.sleep(0.5)
        raise TimeoutError(f"lag {self._lag} after {seconds:.0f} s")

    async def _read(self) -> None:
        assert self._consumer
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    self._note(record)

    def _note(self, record: ConsumerRecord) -> None:
        topic, value = record.topic, record.value or b""
        if topic == self._outputs[2]:
            headers = {name: content.decode(errors="replace") for name, content in record.headers}
            fate = ("place", f"{headers['dead_partition']}@{headers['dead_offset']}")
            self.reasons[fate] = f"{headers.get('dead_code')}: {headers.get('dead_message')}"
        else:
            fate = ("event", json.loads(value)["event_id"])
        self.values[fate].append((topic, value))
        self.envelopes[fate].add((record.key, tuple(pair for pair in record.headers if pair[0] not in BURIER)))

    async def report(self) -> Report:
        """Return the row once the ground is settled."""
        await patiently(self.look)
        report = Report(events=len(self.ground.sent), violations=list(self.violations))
        for sent in self.ground.sent:
            found = self.outcomes(sent)
            report.lost += not found
            report.outcomes += bool(found)
            wrong = list(self._differences(sent, found))
            report.differing += bool(wrong)
            report.violations += [f"{_named(sent)}: {what}" for what in wrong]
        for copies in self.values.values():
            report.repeats += len(copies) - len(set(copies))
        await self._objects(report)
        return report

    def _differences(self, sent: Sent, found: list[tuple[str, bytes]]) -> Iterator[str]:
        """Yield what keeps the copies of an input's outcome from being one and the same."""
        if len(set(found)) > 1:
            yield "different outcomes"
        event, place = fates(sent)
        for fate in (event, place):
            if len(envelopes := self.envelopes.get(fate, set())) > 1:
                yield f"copies with different keys or headers: {sorted(envelopes, key=repr)}"[:500]
        buried = self.values.get(place, [])
        if any(value != (sent.value or b"") for _, value in buried):
            yield "a dead letter with other bytes than the event"
        if any(key != sent.key for key, _ in self.envelopes.get(place, ())):
            yield "a dead letter with another key than the event"

    async def until(self, count: int, seconds: float = 90) -> None:
        """Wait until `count` inputs have an outcome. Raises TimeoutError."""
        await come_true(lambda: sum(bool(self.outcomes(sent)) for sent in self.ground.sent) >= count, seconds)

    def outcomes(self, sent: Sent) -> list[tuple[str, bytes]]:
        """Return every outcome of an input: those of its event, and the dead letters of its place."""
        event, place = fates(sent)
        return self.values.get(event, []) + self.values.get(place, [])

    def reason(self, sent: Sent) -> str:
        """Return code and message of an input's dead letter."""
        return self.reasons.get(fates(sent)[1], "no dead letter")

    def pictures(self, event_id: str) -> set[str]:
        """Return the keys of the pictures that were announced for an event."""
        announced = [
            json.loads(value) for topic, value in self.values["event", event_id] if topic == self.ground.output
        ]
        return {_key(image) for event in announced for image in event["images"]}

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
            key = _key(image)
            content = await self.ground.store.get(key)
            digest = hashlib.sha256(content or b"").hexdigest()
            report.pictures[key] = digest
            if content is None or digest != image["sha256"]:
                report.violations.append(f"{key} is not what was announced")


def fates(sent: Sent) -> tuple[Fate, Fate]:
    """Return both names under which an input's outcome may be found."""
    return ("event", sent.event_id or ""), ("place", f"{sent.partition}@{sent.offset}")


def _named(sent: Sent) -> str:
    return f"{sent.event_id} [{sent.partition}]@{sent.offset}"


def _key(image: dict) -> str:
    return str(image["s3_uri"].split("/", 3)[3])
