"""Scenarios about who owns a partition and what is asked twice: 6, 7, 8, 15, 17."""

from __future__ import annotations

import asyncio

from aiokafka.admin import NewPartitions

from streams import topics
from tests.faults.ground import Ground, admin, flow, segment
from tests.faults.invariants import Auditor


async def join_and_leave(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Workers join and leave while a long job runs."""
    long = [segment(f"{ground.name}-long-{n}", f"segment-{n}", "Coffee slowly") for n in range(2)]
    first = await ground.worker("first", FAKE_SLOW="20", CREATIVES_LANE__BATCH="2", **STOCK)
    await first.ready()
    await ground.emit(*long, *flow(ground.name, 12))
    await asyncio.sleep(3)
    second = await ground.worker("second", FAKE_SLOW="20", **STOCK)
    ground.fault("join")
    await second.ready()
    await asyncio.sleep(5)
    third = await ground.worker("third", FAKE_SLOW="20", **STOCK)
    ground.fault("join")
    await third.ready()
    await asyncio.sleep(3)
    await second.leave()
    ground.fault("leave")
    return "rebalances in jobs of 20 s"


STOCK = {"STOCK_CONCURRENCY": "1"}


async def long_job(ground: Ground, auditor: Auditor, short: bool) -> str:
    """A job longer than session, request, lane and poll timeouts; the buffers behind it are full; a worker joins and leaves again."""
    seconds = "35" if short else "60"
    worker = await ground.worker(
        "first", FAKE_SLOW=seconds, CREATIVES_DELIVERY__WINDOW="8", STOCK_MAX_POLL="15", **STOCK
    )
    await worker.ready()
    events = flow(ground.name, 80, 4)
    await ground.emit(segment(f"{ground.name}-long", "segment-0", "Coffee slowly"), *events)
    await asyncio.sleep(4)
    second = await ground.worker("second", FAKE_SLOW=seconds, STOCK_MAX_POLL="15", **STOCK)
    ground.fault("join")
    await asyncio.sleep(int(seconds))
    await second.leave()
    ground.fault("leave")
    await ground.emit(*flow(f"{ground.name}-after", 8))
    return f"a job of {seconds} s, session timeout 6 s, window 8"


async def idle_spares(ground: Ground, auditor: Auditor, short: bool) -> str:
    """More workers than partitions; spares idle, then the owners die and do not come back."""
    owners = [await ground.worker(f"owner-{n}", supervised=False) for n in (1, 2)]
    for owner in owners:
        await owner.ready()
    spare = await ground.worker("spare", supervised=False)
    await spare.ready()
    await ground.emit(*flow(ground.name, 20))
    await auditor.until(20)
    await asyncio.sleep(10 if short else 60)
    for owner in owners:
        ground.fault("SIGKILL")
        owner.kill()
    await ground.emit(*flow(f"{ground.name}-more", 20))
    await auditor.until(40)
    return "3 workers, 2 partitions; the spare took over"


async def replays(ground: Ground, auditor: Auditor, short: bool) -> str:
    """The topic's events are sent again twice, beside live traffic, with a SIGKILL in the middle."""
    worker = await ground.worker(FAKE_DELAY="0.05")
    await ground.emit(*flow(ground.name, 30))
    await auditor.until(30)
    pictures = (await auditor.report()).pictures
    live = flow(f"{ground.name}-live", 30)
    for turn in range(2):
        await ground.emit(*flow(ground.name, 30)[:15], *live[turn * 15 : turn * 15 + 15])
        if turn == 0:
            ground.fault("SIGKILL")
            worker.kill()
        await ground.emit(*flow(ground.name, 30)[15:])
        ground.fault("replay")
    await ground.settled()
    after = (await auditor.report()).pictures
    if {key: after.get(key) for key in pictures} != pictures:
        auditor.violations.append("a replay changed pictures")
    return f"{len(after) - len(pictures)} new pictures, all of live events"


async def wrong_topics(ground: Ground, auditor: Auditor, short: bool) -> str:
    """A topic is missing at the start; later the partition count grows under a running worker."""
    async with admin(ground.cluster) as client:
        await client.delete_topics([ground.settings.topics.creative_ready])
    await asyncio.sleep(1)
    refused = await ground.worker("refused", supervised=False)
    code = await refused.ended()
    words = refused.log.read_text()
    if code == 0 or "creatives topics --create" not in words:
        auditor.violations.append(f"a missing topic: exit {code}, no advice in the log")
    ground.fault("topic missing")
    await topics.create(ground.direct)
    worker = await ground.worker("running")
    await ground.emit(*flow(ground.name, 12))
    await auditor.until(12)
    async with admin(ground.cluster) as client:
        await client.create_partitions({ground.input: NewPartitions(6)})
    ground.fault("partitions changed")
    await worker.leave()
    late = await ground.worker("late", supervised=False)
    code = await late.ended()
    if code == 0 or "partitions" not in late.log.read_text():
        auditor.violations.append(f"a changed partition count: exit {code}")
    return "both refused at the start, in words; nothing consumed"
