"""Scenarios 1, 2, 12 and 14: a worker is killed, terminated or blocked."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.faults.events import segment_event, segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import WorkerProcess, wait_until
from tests.faults.testbed import Testbed

INJECTIONS = (
    "fetch/kill/3 device/kill/2 upload/kill/3 uploaded/kill/3 manifest/kill/2 committed/kill/2 "
    "publish/kill/2 published/kill/2 ack/kill/2 acked/kill/2 offsets/kill/1 offsets-done/kill/1"
)


async def each_step(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """SIGKILL before and after every step of an event, one after the other."""
    steps = INJECTIONS.split()
    worker = await testbed.start_worker(FAULT_INJECTIONS=INJECTIONS, CREATIVES_KAFKA__INSTANCE_ID="worker-1")
    events = iter(segment_events(testbed.name, 1600))  # a busy machine takes more of them
    while len(testbed.injection_times()) < len(steps):
        batch = [event for _, event in zip(range(4), events, strict=False)]
        if not batch:
            break
        await testbed.emit(*batch)
        await asyncio.sleep(1)
    injected = testbed.record_injected_faults("SIGKILL")
    checker.expect(injected == len(steps), f"{injected} of {len(steps)} steps hit")
    deaths = worker.exit_codes.count(-signal.SIGKILL)
    checker.expect(deaths == injected, f"{injected} steps hit, {deaths} deaths seen")
    return f"{injected} of {len(steps)} steps hit"


async def random_kills(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """SIGKILL two workers at random moments while events arrive."""
    kills, events = (14, 140) if short else (200, 1000)
    chance = random.Random(5)
    queue = segment_events(testbed.name, events)
    share = -(-events // kills)
    names = ("worker-1", "worker-2")
    workers = [await testbed.start_worker(name, CREATIVES_KAFKA__INSTANCE_ID=name) for name in names]

    async def kill_repeatedly(worker: WorkerProcess) -> None:
        while testbed.faults.get("SIGKILL", 0) < kills:
            await worker.wait_until_ready(180)
            testbed.record_fault("SIGKILL")
            batch, queue[:share] = queue[:share], []
            if batch:
                await testbed.emit(*batch)
            await asyncio.sleep(chance.uniform(0, 4))  # a ready worker joins the group after 1 to 3 s
            starts = len(worker.process_groups)
            worker.kill()
            await wait_until(lambda starts=starts: len(worker.process_groups) > starts)

    await asyncio.gather(*map(kill_repeatedly, workers))
    during = sum(bool(checker.outcomes(sent)) for sent in testbed.sent)
    if queue:
        await testbed.emit(*queue)
    deaths = sum(worker.exit_codes.count(-signal.SIGKILL) for worker in workers)
    checker.expect(deaths >= kills, f"{deaths} deaths seen, not {kills}")
    return f"{deaths} deaths seen; {during} of {events} events had their outcome while workers were being killed"


async def slow_head(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Send one slow event at the head of a partition and fast ones behind it; SIGKILL once the fast ones are done."""
    head = segment_event(f"{testbed.name}-head", "one-partition", "Coffee enthusiast slowly")
    tail = [segment_event(f"{testbed.name}-{n:02d}", "one-partition") for n in range(20)]
    worker = await testbed.start_worker(FAKE_SLOW="12", CREATIVES_DEVICE__BATCH="1", STOCK_CONCURRENCY="4")
    await worker.wait_until_ready()
    await testbed.emit(*tail[:1])
    await checker.wait_for_outcomes(1)
    await testbed.emit(head, *tail[1:])
    await asyncio.sleep(8)
    testbed.record_fault("SIGKILL")
    worker.kill()
    return "killed 8 s into a job of 12 s"


async def sigterm(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """SIGTERM in the middle of a batch: once with enough time to finish, once without."""
    worker = await testbed.start_worker(FAKE_DELAY="2", FAKE_SLOW="25")
    await worker.wait_until_ready()
    await testbed.emit(*segment_events(testbed.name, 12))
    await asyncio.sleep(1.5)
    testbed.record_fault("SIGTERM")
    first = await worker.terminate()
    long = segment_event(f"{testbed.name}-long", "segment-1", "Coffee enthusiast slowly")
    other = await testbed.start_worker("second", FAKE_SLOW="25", CREATIVES_DELIVERY__DRAIN="2")
    await other.wait_until_ready()
    await testbed.emit(long)
    await asyncio.sleep(3)
    testbed.record_fault("SIGTERM")
    second = await other.terminate()
    await testbed.start_worker("third", FAKE_SLOW="5")
    checker.expect((first, second) == (0, 0), f"exit codes {first}, {second} after SIGTERM")
    return f"exit codes {first}, {second}"


async def blocked_loop(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Block the main loop: the watchdog must end the process, and the next process must continue."""
    worker = await testbed.start_worker(FAULT_INJECTIONS="fetch/block/2", CREATIVES_DELIVERY__STALL="4")
    await worker.wait_until_ready()
    await testbed.emit(*segment_events(testbed.name, 12))
    await wait_until(lambda: bool(worker.exit_codes))
    testbed.record_injected_faults("blocked loop")
    code = worker.exit_codes[0]
    checker.expect(code > 0, f"exit code {code} of a worker whose main loop was blocked")
    return f"exit code {code}"
