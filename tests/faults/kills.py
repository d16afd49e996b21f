"""Scenarios in which a worker dies, is asked to go, or stands still: 1, 2, 12, 14."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.faults.ground import Ground, flow, segment
from tests.faults.invariants import Auditor
from tests.faults.processes import Worker, come_true

STEPS = (
    "fetch/kill/3 device/kill/2 upload/kill/3 uploaded/kill/3 manifest/kill/2 committed/kill/2 "
    "publish/kill/2 published/kill/2 ack/kill/2 acked/kill/2 offsets/kill/1 offsets-done/kill/1"
)


async def each_step(ground: Ground, auditor: Auditor, short: bool) -> str:
    """SIGKILL before and after every step of an event, one after the other."""
    steps = STEPS.split()
    worker = await ground.worker(FAULT_TRAPS=STEPS, CREATIVES_KAFKA__INSTANCE_ID="worker-1")
    events = iter(flow(ground.name, 1600))  # a busy machine takes more of them
    while len(ground.sprung()) < len(steps):
        batch = [event for _, event in zip(range(4), events, strict=False)]
        if not batch:
            break
        await ground.emit(*batch)
        await asyncio.sleep(1)
    sprung = ground.trapped("SIGKILL")
    auditor.demand(sprung == len(steps), f"{sprung} of {len(steps)} steps hit")
    crashes = worker.exits.count(-signal.SIGKILL)
    auditor.demand(crashes == sprung, f"{sprung} steps hit, {crashes} deaths seen")
    return f"{sprung} of {len(steps)} steps hit"


async def random_kills(ground: Ground, auditor: Auditor, short: bool) -> str:
    """SIGKILL two workers at random moments while events flow."""
    kills, events = (14, 140) if short else (200, 1000)
    chance = random.Random(5)
    queue = flow(ground.name, events)
    share = -(-events // kills)
    workers = [await ground.worker(f"worker-{n}", CREATIVES_KAFKA__INSTANCE_ID=f"worker-{n}") for n in (1, 2)]

    async def torment(worker: Worker) -> None:
        while ground.faults.get("SIGKILL", 0) < kills:
            await worker.ready(180)
            ground.fault("SIGKILL")
            batch, queue[:share] = queue[:share], []
            if batch:
                await ground.emit(*batch)
            await asyncio.sleep(chance.uniform(0, 4))  # ready comes before joining the group, which takes 1 to 3 s
            lives = len(worker.groups)
            worker.kill()
            await come_true(lambda lives=lives: len(worker.groups) > lives)

    await asyncio.gather(*map(torment, workers))
    during = sum(bool(auditor.outcomes(sent)) for sent in ground.sent)
    if queue:
        await ground.emit(*queue)
    crashes = sum(worker.exits.count(-signal.SIGKILL) for worker in workers)
    auditor.demand(crashes >= kills, f"{crashes} deaths seen, not {kills}")
    return f"{crashes} deaths seen; {during} of {events} events had their outcome while workers were being killed"


async def slow_head(ground: Ground, auditor: Auditor, short: bool) -> str:
    """One slow event at the head of a partition, fast ones behind it; SIGKILL when the tail is done."""
    head = segment(f"{ground.name}-head", "one-partition", "Coffee enthusiast slowly")
    tail = [segment(f"{ground.name}-{n:02d}", "one-partition") for n in range(20)]
    worker = await ground.worker(FAKE_SLOW="12", CREATIVES_DEVICE__BATCH="1", **STOCK_SLOW)
    await worker.ready()
    await ground.emit(*tail[:1])
    await auditor.until(1)
    await ground.emit(head, *tail[1:])
    await asyncio.sleep(8)
    ground.fault("SIGKILL")
    worker.kill()
    return "killed 8 s into a job of 12 s"


STOCK_SLOW = {"STOCK_CONCURRENCY": "4"}


async def sigterm(ground: Ground, auditor: Auditor, short: bool) -> str:
    """SIGTERM in mid-batch: once with time to finish, once without."""
    worker = await ground.worker(FAKE_DELAY="2", FAKE_SLOW="25")
    await worker.ready()
    await ground.emit(*flow(ground.name, 12))
    await asyncio.sleep(1.5)
    ground.fault("SIGTERM")
    first = await worker.leave()
    long = segment(f"{ground.name}-long", "segment-1", "Coffee enthusiast slowly")
    other = await ground.worker("second", FAKE_SLOW="25", CREATIVES_DELIVERY__DRAIN="2")
    await other.ready()
    await ground.emit(long)
    await asyncio.sleep(3)
    ground.fault("SIGTERM")
    second = await other.leave()
    await ground.worker("third", FAKE_SLOW="5")
    auditor.demand((first, second) == (0, 0), f"exit codes {first}, {second} after SIGTERM")
    return f"exit codes {first}, {second}"


async def blocked_loop(ground: Ground, auditor: Auditor, short: bool) -> str:
    """The main loop stands still: the watchdog ends the process, the next one goes on."""
    worker = await ground.worker(FAULT_TRAPS="fetch/block/2", CREATIVES_DELIVERY__STALL="4")
    await worker.ready()
    await ground.emit(*flow(ground.name, 12))
    await come_true(lambda: bool(worker.exits))
    ground.trapped("blocked loop")
    auditor.demand(worker.exits[0] > 0, f"exit code {worker.exits[0]} of a worker whose main loop stood still")
    return f"exit code {worker.exits[0]}"
