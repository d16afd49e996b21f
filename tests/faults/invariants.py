"""The invariants that hold after every scenario, checked in the broker and the store alone.

Every input has exactly one outcome, copies of an outcome are equal, no offset is committed before its outcome, every
announced picture has its bytes. Workers are not asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from tests.faults.events import SentRecord
from tests.faults.processes import wait_until
from tests.faults.report import Report
from tests.faults.testbed import Testbed, retry

OutcomeKey = tuple[str, str]
"""How an outcome names its input: ("event", event_id), or ("place", "partition@offset") for a dead letter."""

Envelope = tuple[bytes | None, tuple[tuple[str, bytes], ...]]
"""Key and headers of a copy, without ATTEMPT_HEADERS."""

ATTEMPT_HEADERS = {"dead_attempts", "dead_message"}
"""Headers about the attempts of one worker: two workers that dead-letter the same event may have tried differently often."""


class InvariantChecker:
    """Reads the outcome topics of a testbed and compares them with the inputs and the committed offsets.

    copies: topic and value of every copy of an outcome. envelopes: the distinct keys and headers of these copies.
    dead_letter_reasons: code and message of each dead letter.
    """

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        names = testbed.settings.topics
        self._outputs = [testbed.output, names.creative_rejected, f"{testbed.input}{names.dead_suffix}"]
        self.copies: dict[OutcomeKey, list[tuple[str, bytes]]] = defaultdict(list)
        self.envelopes: dict[OutcomeKey, set[Envelope]] = defaultdict(set)
        self.dead_letter_reasons: dict[OutcomeKey, str] = {}
        self.violations: list[str] = []
        self._lag = -1
        self._inputs_at_zero_lag = 0  # the number of inputs when the lag was 0
        self._zero_lag_since: float | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.testbed.cluster.bootstrap_servers, group_id=None, enable_auto_commit=False,
            auto_offset_reset="earliest", max_partition_fetch_bytes=8 * 2**20,
        )  # fmt: skip
        await self._consumer.start()
        await self.read_partitions(self.testbed.settings.topics.partitions)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching
        assert self._consumer
        self._closed = True  # a client may swallow the cancellation during a call
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._consumer.stop()

    async def read_partitions(self, partitions: int) -> None:
        """Read this many partitions of every outcome topic, each from its current position."""
        assert self._consumer
        async with self._reading:
            places = {place: await self._consumer.position(place) for place in self._consumer.assignment()}
            self._consumer.assign([TopicPartition(name, n) for name in self._outputs for n in range(partitions)])
            for place in self._consumer.assignment():
                self._consumer.seek(place, places.get(place, 0))

    async def _watch(self) -> None:
        """Compare commits with outcomes every half second, not only at the end."""
        while not self._closed:
            with contextlib.suppress(Exception):  # scenarios stop brokers; report() raises instead
                await asyncio.wait_for(self.check_commits(), 15)
            await asyncio.sleep(0.5)

    async def check_commits(self) -> None:
        """Check that every committed input has an outcome. Reads the offsets first: outcomes must precede commits."""
        async with self._reading:
            committed = await self.testbed.committed_offsets()
            moment = time.time()
            await self._read()
            for sent in self.testbed.sent:
                if sent.may_be_parked:  # committed once it is parked; report() expects its outcome
                    continue
                if sent.offset < committed.get(sent.partition, 0) and not self.outcomes(sent):
                    self.expect(False, f"{_describe(sent)} was committed without an outcome")
            self._lag = self.testbed.count_uncommitted(committed)
            if self._lag:
                self._zero_lag_since = None
            elif self._zero_lag_since is None or self._inputs_at_zero_lag < len(self.testbed.sent):
                self._zero_lag_since, self._inputs_at_zero_lag = moment, len(self.testbed.sent)

    def expect(self, condition: bool, violation: str) -> None:
        """Note the violation, once, unless the condition holds."""
        if not condition and violation not in self.violations:
            self.violations.append(violation)

    def expect_no_worker_exits(self) -> None:
        """Note every worker that exited by itself. No other check finds it: the next process loses nothing."""
        for worker in self.testbed.workers:
            for code in worker.exit_codes:
                self.expect(code <= 0, f"{worker.name} exited by itself with {code}")

    async def wait_for_zero_lag(self, seconds: float = 120) -> float:
        """Wait until the broker-side lag is 0; return the seconds since the last fault or the end of its outage.

        Returns 0.0 if nothing was waiting at that time. A committed input without an outcome is a violation, so a lag
        of 0 without a violation means that every outcome exists. Raises TimeoutError with the lag.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):  # scenarios stop brokers
                await asyncio.wait_for(self.check_commits(), 20)
                if self._zero_lag_since is not None:
                    return max(0.0, self._zero_lag_since - self.testbed.disturbed_until)
            await asyncio.sleep(0.5)
        raise TimeoutError(f"lag {self._lag} after {seconds:.0f} s")

    async def _read(self) -> None:
        assert self._consumer
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    self._add(record)

    def _add(self, record: ConsumerRecord) -> None:
        topic, value = record.topic, record.value or b""
        if topic == self._outputs[2]:
            headers = {name: content.decode(errors="replace") for name, content in record.headers}
            key = ("place", f"{headers['dead_partition']}@{headers['dead_offset']}")
            self.dead_letter_reasons[key] = f"{headers.get('dead_code')}: {headers.get('dead_message')}"
        else:
            key = ("event", json.loads(value)["event_id"])
        self.copies[key].append((topic, value))
        self.envelopes[key].add((record.key, tuple(pair for pair in record.headers if pair[0] not in ATTEMPT_HEADERS)))

    async def report(self) -> Report:
        """Compare everything once more and return the counts. Call it when the lag is 0."""
        await retry(self.check_commits)
        report = Report(events=len(self.testbed.sent), violations=list(self.violations))
        for sent in self.testbed.sent:
            found = self.outcomes(sent)
            report.lost += not found
            report.outcomes += bool(found)
            wrong = list(self._differences(sent, found))
            report.differing += bool(wrong)
            report.violations += [f"{_describe(sent)}: {what}" for what in wrong]
        for copies in self.copies.values():
            report.repeats += len(copies) - len(set(copies))
        await self._objects(report)
        return report

    def _differences(self, sent: SentRecord, found: list[tuple[str, bytes]]) -> Iterator[str]:
        """Yield how the copies of an input's outcome differ from each other, or a dead letter from the input."""
        if len(set(found)) > 1:
            yield "different outcomes"
        event, place = outcome_keys(sent)
        for key in (event, place):
            if len(envelopes := self.envelopes.get(key, set())) > 1:
                yield f"copies with different keys or headers: {sorted(envelopes, key=repr)}"[:500]
        dead_letters = self.copies.get(place, [])
        if any(value != (sent.value or b"") for _, value in dead_letters):
            yield "a dead letter with other bytes than the event"
        if any(key != sent.key for key, _ in self.envelopes.get(place, ())):
            yield "a dead letter with another key than the event"

    async def wait_for_outcomes(self, count: int, seconds: float = 90) -> None:
        """Wait until `count` inputs have an outcome. Raises TimeoutError."""
        await wait_until(lambda: sum(bool(self.outcomes(sent)) for sent in self.testbed.sent) >= count, seconds)

    def outcomes(self, sent: SentRecord) -> list[tuple[str, bytes]]:
        """Return topic and value of every outcome of an input, dead letters included."""
        event, place = outcome_keys(sent)
        return self.copies.get(event, []) + self.copies.get(place, [])

    def dead_letter_reason(self, sent: SentRecord) -> str:
        """Return code and message of an input's dead letter."""
        return self.dead_letter_reasons.get(outcome_keys(sent)[1], "no dead letter")

    def pictures(self, event_id: str) -> set[str]:
        """Return the keys of the pictures that were announced for an event."""
        announced = [
            json.loads(value) for topic, value in self.copies["event", event_id] if topic == self.testbed.output
        ]
        return {_key(image) for event in announced for image in event["images"]}

    async def _objects(self, report: Report) -> None:
        """Check the store: every set of objects has a manifest and an outcome, every picture has the announced bytes."""
        announced = {}
        for copies in self.copies.values():
            for topic, value in copies:
                if topic == self._outputs[0]:
                    event = json.loads(value)
                    announced[self._prefix(event)] = event
        keys = await self._outcome_objects()
        for prefix in {key.rsplit("/", 1)[0] + "/" for key in keys}:
            if prefix not in announced or f"{prefix}manifest.json" not in keys:
                rejected = any(
                    prefix.split("/")[2] in str(value) for copies in self.copies.values() for _, value in copies
                )
                if not (rejected and f"{prefix}manifest.json" in keys):
                    report.orphans += 1
                    report.violations.append(f"orphan objects under {prefix}")
        await asyncio.gather(*(self._compare(event, report) for event in announced.values()))

    def _prefix(self, event: dict) -> str:
        kind, name = ("concepts", "product_id") if self.testbed.trains else ("creatives", "segment_id")
        return f"{kind}/{event[name]}/{event['request_id']}/"

    async def _outcome_objects(self) -> list[str]:
        """Return the keys of all objects that belong to outcomes."""
        store = self.testbed.store
        if not self.testbed.trains:
            return await store.list("creatives/")
        return [key for key in await store.list("concepts/") if not key.endswith("/current.json")]

    async def _compare(self, event: dict, report: Report) -> None:
        for image in event["images"]:
            key = _key(image)
            content = await self.testbed.store.get(key)
            digest = hashlib.sha256(content or b"").hexdigest()
            report.pictures[key] = digest
            if content is None or digest != image["sha256"]:
                report.violations.append(f"{key} does not have the announced sha256")


def outcome_keys(sent: SentRecord) -> tuple[OutcomeKey, OutcomeKey]:
    """Return both keys under which an input's outcome may be found."""
    return ("event", sent.event_id or ""), ("place", f"{sent.partition}@{sent.offset}")


def _describe(sent: SentRecord) -> str:
    return f"{sent.event_id} [{sent.partition}]@{sent.offset}"


def _key(image: dict) -> str:
    return str(image["s3_uri"].split("/", 3)[3])
