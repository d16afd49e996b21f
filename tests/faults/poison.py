"""Scenarios in which an event, a stage or the device process is bad: 3, 4, 5, 13."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal

from tests.faults.ground import Ground, Sent, flow, segment
from tests.faults.invariants import Auditor
from tests.faults.processes import Worker

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


def odd_keys(name: str) -> list[tuple[bytes | None, bytes]]:
    """Return valid events with a wrong key and with none, which must be served: a key only chooses the partition.

    Whom an event is about stands in its value; the outcome's key is the segment_id from there, whatever the event's was.
    """
    wrong, keyless = segment(f"{name}-wrong-key", "segment-1"), segment(f"{name}-no-key", "segment-2")
    return [(b"segment-of-somebody-else", json.dumps(wrong).encode()), (None, json.dumps(keyless).encode())]


async def stage_errors(ground: Ground, auditor: Auditor, short: bool) -> str:
    """An exception at each stage, once; and events whose stage always fails."""
    stages = STAGES.split()
    worker = await ground.worker(FAULT_TRAPS=STAGES)
    once = segment(f"{ground.name}-once", "segment-4", "Coffee raising once")
    always = [segment(f"{ground.name}-{word}", "segment-3", f"Coffee {word}") for word in ALWAYS]
    await ground.emit(once, *always, *flow(ground.name, 12))
    events = iter(flow(f"{ground.name}-more", 600))
    while len(ground.sprung()) < len(stages):
        batch = [event for _, event in zip(range(4), events, strict=False)]
        if not batch:
            break
        await ground.emit(*batch)
        await asyncio.sleep(0.5)
    await auditor.until(len(ground.sent))
    sprung = len(ground.sprung())
    auditor.demand(sprung == len(stages), f"{sprung} of {len(stages)} places")
    for moment, _ in worker.told("event failed"):
        ground.fault("failed attempt", at=moment)
    for word, code in ALWAYS.items():
        expect_dead(ground, auditor, f"{ground.name}-{word}", code)
    buried = len(auditor.reasons)
    auditor.demand(buried == len(ALWAYS), f"{buried} dead letters, not {len(ALWAYS)}")
    return (
        f"{sprung} of {len(stages)} places, {len(worker.exits)} exits, {buried} dead letters of events that always fail"
    )


ALWAYS = {"raising": "stage_failed", "shapeless": "stage_failed", "unsendable": "device_process_died"}


def expect_dead(ground: Ground, auditor: Auditor, event_id: str, *words: str) -> None:
    """Note a violation unless the event ended as a dead letter whose reason has the words."""
    reason = auditor.reason(_sent(ground, event_id))
    for word in words:
        auditor.demand(word in reason, f"{event_id}: expected a dead letter with {word!r}, got {reason!r}")


def _sent(ground: Ground, event_id: str) -> Sent:
    return next(sent for sent in ground.sent if sent.event_id == event_id)


async def bad_messages(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Every kind of bad input, and good ones with odd keys, between good neighbours of the same partitions."""
    worker = await ground.worker()
    await worker.ready()
    bad, odd = bad_inputs(ground.name), odd_keys(ground.name)
    good = [(str(event["segment_id"]).encode(), json.dumps(event).encode()) for event in flow(ground.name, 40)]
    mixed: list[tuple[bytes | None, bytes | None]] = []
    for number, pair in enumerate(good):
        mixed.append(pair)
        mixed += [(key, value) for key, value, _ in bad[number : number + 1]]
    await ground.produce(*mixed, *odd)
    ground.fault("bad input", len(bad))
    ground.fault("odd key", len(odd))
    await auditor.until(len(ground.sent))
    right = 0
    for _, value, word in bad:
        reason = auditor.reason(next(sent for sent in ground.sent if sent.value == value))
        right += word in reason
        auditor.demand(word in reason, f"expected {word!r} in the reason, got {reason!r}")
    served = sum(_answered_under_its_segment(auditor, value) for _, value in odd)
    auditor.demand(served == len(odd), f"{served} of {len(odd)} events with a wrong key or none were served")
    return f"{right} of {len(bad)} reasons name field and rule; {served} of {len(odd)} events with a wrong key or none served"


def _answered_under_its_segment(auditor: Auditor, value: bytes) -> bool:
    """Return whether the event has pictures, announced under the segment_id that its value names."""
    event = json.loads(value)
    keys = {key for key, _ in auditor.envelopes["event", event["event_id"]]}
    return bool(auditor.pictures(event["event_id"])) and keys == {event["segment_id"].encode()}


async def flood(ground: Ground, auditor: Auditor, short: bool) -> str:
    """More poison than the limit on burying allows: the worker stops, is started again, and goes on slowly."""
    worker = await ground.worker(CREATIVES_DELIVERY__DEAD_LETTER_LIMIT="40", CREATIVES_DELIVERY__DEAD_LETTER_WINDOW="5")
    await ground.produce(*((b"k%d" % n, b"poison %d" % n) for n in range(100)))
    await ground.emit(*flow(ground.name, 10))
    ground.fault("poison", 100)
    await auditor.until(len(ground.sent), 120)
    auditor.demand(bool(worker.exits) and 0 not in worker.exits, f"exit codes {worker.exits} of a worker in a flood")
    return f"the worker stopped {len(worker.exits)} times"


async def deadly_event(ground: Ground, auditor: Auditor, short: bool) -> str:
    """A message that kills the device process every time, among good ones that share its batches."""
    worker = await ground.worker(CREATIVES_DEVICE__BATCH="4", CREATIVES_DEVICE__LINGER="0.2")
    await worker.ready()
    events = flow(ground.name, 12)
    deadly = f"{ground.name}-deadly"
    await ground.emit(*events[:6], segment(deadly, "segment-1", "Coffee fatally"), *events[6:])
    await auditor.until(13)
    died = worker.told("device process died")
    for moment, line in died:
        ground.fault("segfault" if "SIGSEGV" in line else "other death", at=moment)
    limit = ground.settings.device.crashes
    by_itself = [found[1] for _, line in died if (found := re.search(r"jobs=\['([^']+)'\]", line))]
    alone = len(by_itself)
    auditor.demand(alone == limit, f"{alone} deaths with a message alone, not {limit}")
    auditor.demand(len(set(by_itself)) == 1, f"deaths alone of more messages than one: {by_itself}")
    auditor.demand("other death" not in ground.faults, f"deaths that were no segfaults: {died}")
    restarts = (await worker.status())["device_process"]["restarts"]
    auditor.demand(restarts == len(died), f"/status says {restarts} restarts, the log {len(died)} deaths")
    expect_dead(ground, auditor, deadly, "device_process_died", "SIGSEGV", f"({limit} of {limit} times)")
    served = sum(bool(auditor.pictures(str(event["event_id"]))) for event in events)
    auditor.demand(served == len(events), f"{served} of {len(events)} neighbours served")
    return f"{alone} of the deaths with the message alone, then buried; {served} of {len(events)} neighbours served"


async def broken_device(ground: Ground, auditor: Auditor, short: bool) -> str:
    """The device process is killed from outside in mid-work, hangs once, crashes once."""
    worker = await ground.worker(FAKE_DELAY="1")
    await worker.ready()
    kills = 3
    for turn in range(kills):
        await ground.emit(*flow(f"{ground.name}-{turn}", 2))
        await _device(worker, turn, "busy")
        [device] = worker.device_processes()
        os.kill(device, signal.SIGKILL)
        ground.fault("SIGKILL to the device process")
        await auditor.until(len(ground.sent))
    for number, word in enumerate(("hanging", "fatally")):
        await ground.emit(segment(f"{ground.name}-{word}", f"segment-{number}", f"Coffee {word} once"))
        await _device(worker, kills + number + 1, "idle")
    await auditor.until(len(ground.sent))
    died = worker.told("device process died")
    for how, kind, count in (("SIGKILL", "", kills), ("gave no sign of progress", "hang", 1), ("SIGSEGV", "crash", 1)):
        found = [moment for moment, line in died if how in line]
        auditor.demand(len(found) == count, f"the log has {len(found)} deaths with {how!r}, not {count}")
        for moment in found if kind else ():
            ground.fault(kind, at=moment)
    auditor.demand(not worker.exits, f"the worker ended: {worker.exits}")
    return f"{(await worker.status())['device_process']['restarts']} restarts of the device process, {len(worker.exits)} worker exits"


async def _device(worker: Worker, restarts: int, state: str, seconds: float = 60) -> None:
    """Wait until the device process was restarted this often and is in this state. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            device = (await worker.status())["device_process"]
            if device["restarts"] >= restarts and device["state"] == state:
                return
            await asyncio.sleep(0.1)
