"""Scenarios in which an event, a stage or the device process is bad: 3, 4, 5, 13."""

from __future__ import annotations

import asyncio
import json
import os
import signal

from tests.faults.ground import Ground, flow, segment
from tests.faults.invariants import Auditor

STAGES = (
    "upload/raise/2 uploaded/raise/2 manifest/raise/2 committed/raise/2 publish/raise/2 "
    "published/raise/2 upload/outage/2 manifest/outage/2 publish/outage/2 published/outage/2"
)


def bad_inputs(name: str) -> list[tuple[bytes | None, bytes | None, str]]:
    """Return keys, values and the word that the dead letter's reason must name."""
    good = segment(f"{name}-bad", "segment-0")

    def changed(number: int, **fields: object) -> bytes:
        return json.dumps({**good, "event_id": f"{name}-bad-{number}", **fields}).encode()

    without = {field: value for field, value in good.items() if field != "segment_id"}
    return [
        (b"k", b"\xff\xfe\x00", "UTF-8"),
        (b"k", b"{not json", "JSON"),
        (b"k", b"", "JSON"),
        (b"k", b"[1, 2]", "object"),
        (b"k", None, "null"),
        (b"k", json.dumps({**without, "event_id": f"{name}-bad-0"}).encode(), "segment_id"),
        (b"k", changed(1, name=17), "name"),
        (b"k", changed(2, description="x" * 900_000), "bytes"),
        (b"k", changed(3, segment_id="../../etc/passwd"), "segment_id"),
        (b"k", changed(4, segment_id="a/b"), "segment_id"),
        (b"k", changed(5, keywords=[{"term": f"t{n}"} for n in range(10_000)]), "keywords"),
        (b"k", changed(6, name="☕🫖😀"), "name"),
        (b"k", changed(7, occurred_at="23/11/2026"), "occurred_at"),
        (b"k", changed(8, occurred_at="2026-13-45T99:00:00Z"), "occurred_at"),
        (b"k", changed(9, occurred_at=1763892000), "occurred_at"),
        (b"k", changed(10, candidates=10_000), "candidates"),
        (b"k", changed(11, schema_version=99), "schema_version"),
        (b"k", b'{"a":' * 5_000, "JSON"),
        (None, b"no key and no JSON", "JSON"),
    ]


async def stage_errors(ground: Ground, auditor: Auditor, short: bool) -> str:
    """An exception at each stage, once; and an event whose stage always fails."""
    stages = STAGES.split()
    worker = await ground.worker(FAULT_TRAPS=STAGES)
    always = segment(f"{ground.name}-always", "segment-3", "Coffee raising")
    once = segment(f"{ground.name}-once", "segment-4", "Coffee raising once")
    shapeless = segment(f"{ground.name}-shapeless", "segment-5", "Coffee shapeless")
    unsendable = segment(f"{ground.name}-unsendable", "segment-6", "Coffee unsendable")
    await ground.emit(always, once, shapeless, unsendable, *flow(ground.name, 12))
    events = iter(flow(f"{ground.name}-more", 100))
    while (sprung := len(list(ground.folder.glob("trap-*")))) < len(stages):
        batch = [event for _, event in zip(range(4), events, strict=False)]
        if not batch:
            break
        await ground.emit(*batch)
        await asyncio.sleep(0.5)
    ground.fault("exception", sprung + 4)
    await auditor.until(len(ground.sent))
    expect_dead(ground, auditor, f"{ground.name}-always", "stage_failed")
    return f"{sprung} of {len(stages)} places, {len(worker.exits)} exits, {len(auditor.reasons)} dead letters"


def expect_dead(ground: Ground, auditor: Auditor, event_id: str, word: str) -> None:
    """Note a violation unless the event ended as a dead letter whose reason has the word."""
    sent = next(sent for sent in ground.sent if sent.event_id == event_id)
    reason = auditor.reasons.get(("place", f"{sent.partition}@{sent.offset}"), "no dead letter")
    if word not in reason:
        auditor.violations.append(f"{event_id}: expected a dead letter with {word!r}, got {reason!r}")


async def bad_messages(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Every bad input of issue 3 between good neighbours of the same partitions."""
    await ground.worker()
    bad = bad_inputs(ground.name)
    good = [(str(event["segment_id"]).encode(), json.dumps(event).encode()) for event in flow(ground.name, 40)]
    mixed: list[tuple[bytes | None, bytes | None]] = []
    for number, pair in enumerate(good):
        mixed.append(pair)
        mixed += [(key, value) for key, value, _ in bad[number : number + 1]]
    await ground.produce(*mixed)
    await auditor.until(len(ground.sent))
    ground.fault("bad input", len(bad))
    wrong = 0
    for _, value, word in bad:
        sent = next(sent for sent in ground.sent if sent.value == value)
        reason = auditor.reasons.get(("place", f"{sent.partition}@{sent.offset}"), "no dead letter")
        if word not in reason:
            wrong += 1
            auditor.violations.append(f"expected {word!r} in the reason, got {reason!r}")
    return f"{len(bad) - wrong} of {len(bad)} reasons name field and rule"


async def flood(ground: Ground, auditor: Auditor, short: bool) -> str:
    """More poison than the limit on burying allows: the worker stops, is started again, and goes on slowly."""
    worker = await ground.worker(CREATIVES_DELIVERY__BURIES="40", CREATIVES_DELIVERY__BURY_WINDOW="5")
    await ground.produce(*((b"k%d" % n, b"poison %d" % n) for n in range(100)))
    await ground.emit(*flow(ground.name, 10))
    ground.fault("poison", 100)
    await auditor.until(len(ground.sent), 120)
    return f"the worker stopped {len(worker.exits)} times"


async def deadly_event(ground: Ground, auditor: Auditor, short: bool) -> str:
    """A message that kills the device process every time, among good ones that share its batches."""
    await ground.worker(CREATIVES_LANE__BATCH="4", CREATIVES_LANE__LINGER="0.2")
    events = flow(ground.name, 12)
    deadly = segment(f"{ground.name}-deadly", "segment-1", "Coffee fatally")
    await ground.emit(*events[:6], deadly, *events[6:])
    await auditor.until(13)
    ground.fault("segfault", 3)
    expect_dead(ground, auditor, f"{ground.name}-deadly", "device_process_died")
    return "buried after 3 deaths; neighbours served"


async def broken_device(ground: Ground, auditor: Auditor, short: bool) -> str:
    """The device process hangs once, crashes once, and is killed from outside."""
    worker = await ground.worker(FAKE_DELAY="0.3")
    hanging = segment(f"{ground.name}-hanging", "segment-1", "Coffee hanging once")
    crashing = segment(f"{ground.name}-crashing", "segment-2", "Coffee fatally once")
    await ground.emit(*flow(ground.name, 8), hanging, crashing)
    await worker.ready()
    for _ in range(3):
        await asyncio.sleep(2.5)
        for device in worker.device_processes():
            ground.fault("SIGKILL to the device process")
            os.kill(device, signal.SIGKILL)
    ground.fault("hang")
    ground.fault("crash")
    await auditor.until(10)
    return f"{len(worker.exits)} worker exits"
