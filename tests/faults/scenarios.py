"""The rows of the fault table: 22 scenarios, and five of them with a stock Faust agent for comparison."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.faults import (
    bad_events,
    device_failures,
    local_disk,
    outages,
    rebalances,
    replays,
    soak,
    topic_changes,
    training,
    worker_failures,
)
from tests.faults.events import segment_event, segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed

FAKE = "fake, set delays"
Run = Callable[[Testbed, InvariantChecker, bool], Awaitable[str]]
"""Runs a scenario, in the short form if the flag is set, and returns a note for the table."""


@dataclass(frozen=True)
class Scenario:
    """One row of the fault table.

    number: of the scenario, with a letter for a part of it. short: whether the short form includes it. timeout: seconds
    until the lag must be 0. device: what does the work of the device. workers_must_survive: a worker must not exit.
    """

    number: str
    title: str
    run: Run
    overrides: dict[str, str] = field(default_factory=dict)
    short: bool = True
    timeout: float = 180
    device: str = FAKE
    workers_must_survive: bool = False

    @property
    def name(self) -> str:
        return f"row-{self.number}"


ALL = (
    Scenario("1a", "SIGKILL before and after each step", worker_failures.each_step),
    Scenario("1b", "random SIGKILLs on two workers", worker_failures.random_kills, {"FAKE_DELAY": "0.05"}, timeout=300),
    Scenario("2", "slow head, fast tail, SIGKILL", worker_failures.slow_head),
    Scenario("3", "an exception at each stage", device_failures.stage_errors),
    Scenario("4a", "bad inputs among good ones", bad_events.bad_messages),
    Scenario("4b", "more dead letters than the limit", bad_events.too_many_dead_letters),
    Scenario("5", "a message that kills the device process", device_failures.deadly_event),
    Scenario("6", "workers join and leave during a long job", rebalances.join_and_leave, workers_must_survive=True),
    Scenario(
        "7",
        "a job longer than every timeout, full buffers",
        rebalances.long_job,
        {"CREATIVES_DEVICE__DEADLINE": "4"},
        workers_must_survive=True,
    ),
    Scenario(
        "8",
        "more workers than partitions, then failover",
        rebalances.failover,
        {"CREATIVES_TOPICS__PARTITIONS": "2"},
        workers_must_survive=True,
    ),
    Scenario("9a", "all brokers down", outages.brokers_down),
    Scenario("9b", "each of three brokers killed in turn", outages.one_broker_killed, short=False),
    Scenario("9c", "a broker frozen with open connections", outages.frozen_broker, short=False),
    Scenario("9d", "slow network to the brokers", outages.slow_network, short=False, timeout=300),
    Scenario("9e", "offset commits fail", outages.commit_errors),
    Scenario("10a", "object store down", outages.store_down),
    Scenario("10b", "object store slow, 503, hung, torn uploads", outages.store_errors),
    Scenario("11", "publishing fails after the upload", outages.publish_fails),
    Scenario("12", "SIGTERM during a batch", worker_failures.sigterm),
    Scenario("13", "device process hangs, crashes, is killed", device_failures.broken_device),
    Scenario("14", "main loop blocked", worker_failures.blocked_loop),
    Scenario("15", "replayed twice, beside live traffic, with a SIGKILL", replays.replays),
    Scenario(
        "16",
        "trainers killed at random steps",
        training.trainer_killed,
        training.OVERRIDES,
        timeout=300,
        device=training.DEVICE,
    ),
    Scenario("17", "topic missing, partition count changed", topic_changes.wrong_topics),
    Scenario("19", "two workers share a small scratch folder, one is killed", local_disk.shared_scratch),
    Scenario("20", "scratch disk full", local_disk.full_scratch_disk),
    Scenario("21", "trainer killed while it releases parked segments", local_disk.killed_release),
    Scenario(
        "22", "jobs that end during the upload of a checkpoint", local_disk.slow_upload, {"CREATIVES_ROLE": "train"}
    ),
    Scenario("18", "soak with random faults", soak.soak, short=False, timeout=300),
)


async def stock_exception(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Raise once per event in a stage; the next attempt passes."""
    await testbed.start_worker(FAULT_INJECTIONS="upload/raise/3 manifest/raise/3 publish/raise/3")
    raising = [segment_event(f"{testbed.name}-raising-{n}", f"segment-{n}", "Coffee raising once") for n in range(4)]
    await testbed.emit(*raising, *segment_events(testbed.name, 30))
    await asyncio.sleep(15)
    in_stages = testbed.record_injected_faults("exception")
    times = [mark.stat().st_mtime for mark in testbed.folder.glob("raising-*")]
    for moment in times:
        testbed.record_fault("exception", at=moment)
    violation = f"{in_stages} of 3 exceptions in stages, {len(times)} of 4 in rendering"
    checker.expect(in_stages == 3 and len(times) == 4, violation)
    return f"{in_stages} in stages, {len(times)} in rendering, each passes at the next attempt"


async def stock_sigterm(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """SIGTERM during a job that takes longer than the drain; another worker takes over."""
    worker = await testbed.start_worker(FAKE_SLOW="20", CREATIVES_DELIVERY__DRAIN="2")
    await worker.wait_until_ready()
    await testbed.emit(
        segment_event(f"{testbed.name}-long", "segment-1", "Coffee slowly"), *segment_events(testbed.name, 8)
    )
    await asyncio.sleep(6)
    testbed.record_fault("SIGTERM")
    await worker.terminate()
    await testbed.start_worker("next", FAKE_SLOW="5")
    return "a job of 20 s"


COMPARISON = (
    Scenario("2", "slow head and kill", worker_failures.slow_head),
    Scenario("3", "an exception at a stage", stock_exception),
    Scenario("6", "rebalance during a long job", rebalances.join_and_leave),
    Scenario("7", "a job longer than the timeouts", rebalances.long_job),
    Scenario("12", "SIGTERM during a job", stock_sigterm),
)
