"""Scenarios about who owns a partition and what is asked twice: 6, 7, 8, 15, 17."""

from __future__ import annotations

import asyncio
import signal

from aiokafka.admin import NewPartitions

from streams.kafka import topics
from tests.faults.ground import Ground, admin, flow, segment
from tests.faults.invariants import Auditor
from tests.faults.processes import come_true


async def join_and_leave(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Workers join and leave while a long job runs."""
    long = [segment(f"{ground.name}-long-{n}", f"segment-{n}", "Coffee slowly") for n in range(2)]
    first = await ground.worker("first", FAKE_SLOW="20", CREATIVES_DEVICE__BATCH="2", **STOCK)
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
    ground.fault("leave")
    await second.leave()
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
    ground.fault("leave")
    await second.leave()
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
    """A topic's events are sent again twice, beside live traffic.

    A SIGKILL comes into the first replay; the second is cancelled half-way, the worker restarted, the replay resumed.
    """
    worker = await ground.worker(FAKE_DELAY="0.05")
    old, live = flow(ground.name, 30), flow(f"{ground.name}-live", 30)
    await ground.emit(*old)
    await auditor.until(30)
    before = (await auditor.report()).pictures
    ground.fault("replay")
    await ground.emit(*old[:15], *live[:15])
    ground.fault("SIGKILL")
    worker.kill()
    await ground.emit(*old[15:])
    await auditor.settled()
    ground.fault("replay cancelled half-way")
    await ground.emit(*old[:15])
    ground.fault("restart by SIGTERM")
    worker.signal(signal.SIGTERM)
    await ground.emit(*live[15:])
    await come_true(lambda: len(worker.exits) == 2)
    await worker.ready()
    ground.fault("replay resumed")
    await ground.emit(*old[15:])
    await auditor.settled()
    codes = (-signal.SIGKILL, 0)
    auditor.demand(tuple(worker.exits) == codes, f"exit codes {worker.exits}, not {codes}")
    return await _replayed(auditor, before, [str(event["event_id"]) for event in old], live)


async def _replayed(auditor: Auditor, before: dict[str, str], old: list[str], live: list[dict[str, object]]) -> str:
    """Hold the pictures against those from before the replays, and count how often each old event was answered."""
    after = (await auditor.report()).pictures
    auditor.demand({key: after.get(key) for key in before} == before, "a replay changed pictures")
    new = after.keys() - before.keys()
    of_live = new & set().union(*(auditor.pictures(str(event["event_id"])) for event in live))
    wanted = len(live) * auditor.ground.settings.studio.images
    auditor.demand(len(of_live) == wanted, f"{len(of_live)} pictures of live events, not {wanted}")
    auditor.demand(new == of_live, f"{len(new - of_live)} new pictures are not of live events")
    answers = min(len(auditor.values["event", event_id]) for event_id in old)
    auditor.demand(answers >= 3, f"an event that was sent 3 times was answered {answers} times")
    return (
        "a replay is the topic's events sent again; the second stopped after 15 of 30 and was resumed after a restart; "
        f"{len(new)} new pictures, {len(of_live)} of them of live events; each old event answered at least {answers} times"
    )


async def wrong_topics(ground: Ground, auditor: Auditor, short: bool) -> str:
    """A topic is missing at the start; later the partition count of one grows. Events wait; the operator mends both."""
    async with admin(ground.cluster) as client:
        await client.delete_topics([ground.settings.topics.creative_ready])
    ground.fault("topic missing")
    await asyncio.sleep(1)
    await ground.emit(*flow(ground.name, 12))
    first = await _refused(ground, auditor, "missing", "creatives topics --create")
    await topics.create(ground.direct)
    worker = await ground.worker("running")
    await auditor.until(12)
    await auditor.settled()
    await worker.leave()
    await _grow(ground, [ground.input])
    ground.fault("partition count changed")
    await ground.emit(*flow(f"{ground.name}-more", 12))
    second = await _refused(ground, auditor, "grown", "has 6 partitions, not 4")
    await _grow(ground, [spec.name for spec in topics.expected_topics(ground.direct) if spec.name != ground.input])
    await auditor.follow(6)
    await ground.worker("mended", CREATIVES_TOPICS__PARTITIONS="6")
    ground.healed()
    return f"refused at the start, in words: {first}; {second}"


async def _refused(ground: Ground, auditor: Auditor, name: str, advice: str) -> str:
    """Start a worker that must end with this advice and without a commit; return what was seen."""
    before = await ground.committed()
    worker = await ground.worker(name, supervised=False)
    code = await worker.ended()
    auditor.demand(code > 0, f"a worker that cannot work ended with {code}")
    auditor.demand(advice in worker.log.read_text(), f"no {advice!r} in the log of {name}")
    after, waiting = await ground.committed(), ground.beyond(before)
    consumed = waiting - ground.beyond(after)
    auditor.demand(after == before, f"a worker that refuses to start committed {after} after {before}")
    return f"exit code {code}, {consumed} of {waiting} waiting events consumed"


async def _grow(ground: Ground, names: list[str], partitions: int = 6) -> None:
    async with admin(ground.cluster) as client:
        await client.create_partitions({name: NewPartitions(partitions) for name in names})
