"""Scenarios 3, 5 and 13: a stage raises, an event crashes the device process, the device process hangs or is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal

from tests.faults.events import SentRecord, segment_event, segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import WorkerProcess
from tests.faults.testbed import Testbed

INJECTIONS = (
    "upload/raise/2 uploaded/raise/2 manifest/raise/2 committed/raise/2 publish/raise/2 "
    "published/raise/2 upload/outage/2 manifest/outage/2 publish/outage/2 published/outage/2"
)
ALWAYS_FAIL = {"raising": "stage_failed", "shapeless": "stage_failed", "unsendable": "device_process_died"}
"""Words that make the fake studio fail, each with the code of the dead letter."""


async def stage_errors(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Raise once in each stage, and send events whose stage always fails."""
    total = len(INJECTIONS.split())
    worker = await testbed.start_worker(FAULT_INJECTIONS=INJECTIONS)
    once = segment_event(f"{testbed.name}-once", "segment-4", "Coffee raising once")
    always = [segment_event(f"{testbed.name}-{word}", "segment-3", f"Coffee {word}") for word in ALWAYS_FAIL]
    await testbed.emit(once, *always, *segment_events(testbed.name, 12))
    events = iter(segment_events(f"{testbed.name}-more", 600))
    while len(testbed.injection_times()) < total:
        batch = [event for _, event in zip(range(4), events, strict=False)]
        if not batch:
            break
        await testbed.emit(*batch)
        await asyncio.sleep(0.5)
    await checker.wait_for_outcomes(len(testbed.sent))
    injected = len(testbed.injection_times())
    checker.expect(injected == total, f"{injected} of {total} places")
    for moment, _ in worker.log_lines("event failed"):
        testbed.record_fault("failed attempt", at=moment)
    for word, code in ALWAYS_FAIL.items():
        expect_dead_letter(testbed, checker, f"{testbed.name}-{word}", code)
    dead = len(checker.dead_letter_reasons)
    checker.expect(dead == len(ALWAYS_FAIL), f"{dead} dead letters, not {len(ALWAYS_FAIL)}")
    exits = len(worker.exit_codes)
    return f"{injected} of {total} places, {exits} exits, {dead} dead letters of events that always fail"


def expect_dead_letter(testbed: Testbed, checker: InvariantChecker, event_id: str, *words: str) -> None:
    """Note a violation unless the event became a dead letter whose reason contains the words."""
    reason = checker.dead_letter_reason(_sent(testbed, event_id))
    for word in words:
        checker.expect(word in reason, f"{event_id}: expected a dead letter with {word!r}, got {reason!r}")


def _sent(testbed: Testbed, event_id: str) -> SentRecord:
    return next(sent for sent in testbed.sent if sent.event_id == event_id)


async def deadly_event(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Send an event that crashes the device process at every attempt, among good ones that share its batches."""
    worker = await testbed.start_worker(CREATIVES_DEVICE__BATCH="4", CREATIVES_DEVICE__LINGER="0.2")
    await worker.wait_until_ready()
    events = segment_events(testbed.name, 12)
    deadly = f"{testbed.name}-deadly"
    await testbed.emit(*events[:6], segment_event(deadly, "segment-1", "Coffee fatally"), *events[6:])
    await checker.wait_for_outcomes(13)
    crashes = worker.log_lines("device process died")
    for moment, line in crashes:
        testbed.record_fault("segfault" if "SIGSEGV" in line else "other death", at=moment)
    limit = testbed.settings.device.max_crashes
    alone = _expect_crashes_alone(checker, [line for _, line in crashes], limit)
    checker.expect("other death" not in testbed.faults, f"deaths that were not segfaults: {crashes}")
    restarts = (await worker.status())["device_process"]["restarts"]
    checker.expect(restarts == len(crashes), f"/status has {restarts} restarts, the log {len(crashes)} deaths")
    expect_dead_letter(testbed, checker, deadly, "device_process_died", "SIGSEGV", f"({limit} of {limit} times)")
    served = sum(bool(checker.pictures(str(event["event_id"]))) for event in events)
    checker.expect(served == len(events), f"{served} of {len(events)} neighbours served")
    return (
        f"{alone} of the deaths with the message alone, then dead-lettered; {served} of {len(events)} neighbours served"
    )


def _expect_crashes_alone(checker: InvariantChecker, lines: list[str], limit: int) -> int:
    """Expect `limit` crashes while one and the same job ran alone; return how many there were."""
    jobs = [found[1] for line in lines if (found := re.search(r"jobs=\['([^']+)'\]", line))]
    checker.expect(len(jobs) == limit, f"{len(jobs)} deaths with a message alone, not {limit}")
    checker.expect(len(set(jobs)) == 1, f"different messages ran alone at a death: {jobs}")
    return len(jobs)


async def broken_device(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Kill the device process from outside while it works; then let it hang once and crash once."""
    worker = await testbed.start_worker(FAKE_DELAY="1")
    await worker.wait_until_ready()
    kills = 3
    for turn in range(kills):
        await testbed.emit(*segment_events(f"{testbed.name}-{turn}", 2))
        await _wait_for_device(worker, turn, "busy")
        [device] = worker.device_processes()
        os.kill(device, signal.SIGKILL)
        testbed.record_fault("SIGKILL to the device process")
        await checker.wait_for_outcomes(len(testbed.sent))
    for number, word in enumerate(("hanging", "fatally")):
        event = segment_event(f"{testbed.name}-{word}", f"segment-{number}", f"Coffee {word} once")
        await testbed.emit(event)
        await _wait_for_device(worker, kills + number + 1, "idle")
    await checker.wait_for_outcomes(len(testbed.sent))
    died = worker.log_lines("device process died")
    for how, kind, count in (("SIGKILL", "", kills), ("gave no sign of progress", "hang", 1), ("SIGSEGV", "crash", 1)):
        found = [moment for moment, line in died if how in line]
        checker.expect(len(found) == count, f"the log has {len(found)} deaths with {how!r}, not {count}")
        for moment in found if kind else ():
            testbed.record_fault(kind, at=moment)
    checker.expect(not worker.exit_codes, f"the worker exited: {worker.exit_codes}")
    restarts = (await worker.status())["device_process"]["restarts"]
    return f"{restarts} restarts of the device process, {len(worker.exit_codes)} worker exits"


async def _wait_for_device(worker: WorkerProcess, restarts: int, state: str, seconds: float = 60) -> None:
    """Wait until the device process is in this state after this many restarts. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            device = (await worker.status())["device_process"]
            if device["restarts"] >= restarts and device["state"] == state:
                return
            await asyncio.sleep(0.1)
