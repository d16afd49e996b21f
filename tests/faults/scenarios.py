"""The fault table's rows: the 18 scenarios, and the five that a stock Faust agent plays too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.faults import groups, kills, outages, poison, training
from tests.faults.ground import Ground, flow, segment
from tests.faults.invariants import Auditor

FAKE = "fake, set delays"
Play = Callable[[Ground, Auditor, bool], Awaitable[str]]


@dataclass(frozen=True)
class Scenario:
    """number: as in the list of fault scenarios, with a letter for a part. short: whether the short form plays it.

    device: what does the device's work. stands: nothing that the row does is a reason for a worker to end by itself.
    """

    number: str
    title: str
    play: Play
    overrides: dict[str, str] = field(default_factory=dict)
    short: bool = True
    timeout: float = 180
    device: str = FAKE
    stands: bool = False

    @property
    def name(self) -> str:
        return f"row-{self.number}"


ALL = (
    Scenario("1a", "SIGKILL before and after each step", kills.each_step),
    Scenario("1b", "random SIGKILLs on two workers", kills.random_kills, {"FAKE_DELAY": "0.05"}, timeout=300),
    Scenario("2", "slow head, fast tail, SIGKILL", kills.slow_head),
    Scenario("3", "an exception at each stage", poison.stage_errors),
    Scenario("4a", "bad inputs among good ones", poison.bad_messages),
    Scenario("4b", "poison flood beyond the limit on burying", poison.flood),
    Scenario("5", "a message that kills the device process", poison.deadly_event),
    Scenario("6", "workers join and leave during a long job", groups.join_and_leave, stands=True),
    Scenario(
        "7",
        "a job longer than every timeout, full buffers",
        groups.long_job,
        {"CREATIVES_DEVICE__DEADLINE": "4"},
        stands=True,
    ),
    Scenario(
        "8",
        "more workers than partitions, then failover",
        groups.idle_spares,
        {"CREATIVES_TOPICS__PARTITIONS": "2"},
        stands=True,
    ),
    Scenario("9a", "all brokers down", outages.brokers_down),
    Scenario("9b", "each of three brokers killed in turn", outages.one_broker_killed, short=False),
    Scenario("9c", "a broker frozen with open connections", outages.frozen_broker, short=False),
    Scenario("9d", "late network to the brokers", outages.slow_network, short=False, timeout=300),
    Scenario("9e", "offset commits fail", outages.commit_errors),
    Scenario("10a", "object store down", outages.store_down),
    Scenario("10b", "object store slow, 503, hung, torn uploads", outages.store_unwell),
    Scenario("11", "publishing fails after the upload", outages.publish_fails),
    Scenario("12", "SIGTERM in mid-batch", kills.sigterm),
    Scenario("13", "device process hangs, crashes, is killed", poison.broken_device),
    Scenario("14", "main loop blocked", kills.blocked_loop),
    Scenario("15", "replayed twice, beside live traffic, with a SIGKILL", groups.replays),
    Scenario(
        "16",
        "trainers killed at random steps",
        training.trainer_killed,
        training.OVERRIDES,
        timeout=300,
        device=training.DEVICE,
    ),
    Scenario("17", "topic missing, partition count changed", groups.wrong_topics),
    Scenario("18", "soak with random faults", outages.soak, short=False, timeout=300),
)


async def stock_exception(ground: Ground, auditor: Auditor, short: bool) -> str:
    """An exception at a stage, once per event, as a passing failure would."""
    await ground.worker(FAULT_TRAPS="upload/raise/3 manifest/raise/3 publish/raise/3")
    raising = [segment(f"{ground.name}-raising-{n}", f"segment-{n}", "Coffee raising once") for n in range(4)]
    await ground.emit(*raising, *flow(ground.name, 30))
    await asyncio.sleep(15)
    stages = ground.trapped("exception")
    marks = [mark.stat().st_mtime for mark in ground.folder.glob("raising-*")]
    for moment in marks:
        ground.fault("exception", at=moment)
    auditor.demand(
        stages == 3 and len(marks) == 4, f"{stages} of 3 exceptions in stages, {len(marks)} of 4 in rendering"
    )
    return f"{stages} in stages, {len(marks)} in rendering, each passing at the next attempt"


async def stock_sigterm(ground: Ground, auditor: Auditor, short: bool) -> str:
    """SIGTERM in the middle of a job that outlasts the drain; another worker follows."""
    worker = await ground.worker(FAKE_SLOW="20", CREATIVES_DELIVERY__DRAIN="2")
    await worker.ready()
    await ground.emit(segment(f"{ground.name}-long", "segment-1", "Coffee slowly"), *flow(ground.name, 8))
    await asyncio.sleep(6)
    ground.fault("SIGTERM")
    await worker.leave()
    await ground.worker("next", FAKE_SLOW="5")
    return "a job of 20 s"


CONTRAST = (
    Scenario("2", "slow head and kill", kills.slow_head),
    Scenario("3", "an exception at a stage", stock_exception),
    Scenario("6", "rebalance in a long job", groups.join_and_leave),
    Scenario("7", "a job longer than the timeouts", groups.long_job),
    Scenario("12", "SIGTERM in mid-job", stock_sigterm),
)
