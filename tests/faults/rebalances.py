"""Scenarios 6, 7 and 8: partitions move between workers."""

from __future__ import annotations

import asyncio

from tests.faults.events import segment_event, segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed

ONE_AT_A_TIME = {"STOCK_CONCURRENCY": "1"}  # of the stock agent


async def join_and_leave(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Start and stop workers while a long job runs."""
    options = {"FAKE_SLOW": "20", **ONE_AT_A_TIME}
    long = [segment_event(f"{testbed.name}-long-{n}", f"segment-{n}", "Coffee slowly") for n in range(2)]
    first = await testbed.start_worker("first", CREATIVES_DEVICE__BATCH="2", **options)
    await first.wait_until_ready()
    await testbed.emit(*long, *segment_events(testbed.name, 12))
    await asyncio.sleep(3)
    second = await testbed.start_worker("second", **options)
    testbed.record_fault("join")
    await second.wait_until_ready()
    await asyncio.sleep(5)
    third = await testbed.start_worker("third", **options)
    testbed.record_fault("join")
    await third.wait_until_ready()
    await asyncio.sleep(3)
    testbed.record_fault("leave")
    await second.terminate()
    return "rebalances in jobs of 20 s"


async def long_job(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Run a job longer than the session, request, device and poll timeouts, with full buffers behind it.

    A second worker joins and leaves during the job.
    """
    seconds = "35" if short else "60"
    options = {"FAKE_SLOW": seconds, "STOCK_MAX_POLL": "15", **ONE_AT_A_TIME}
    worker = await testbed.start_worker("first", CREATIVES_DELIVERY__WINDOW="8", **options)
    await worker.wait_until_ready()
    events = segment_events(testbed.name, 80, 4)
    await testbed.emit(segment_event(f"{testbed.name}-long", "segment-0", "Coffee slowly"), *events)
    await asyncio.sleep(4)
    second = await testbed.start_worker("second", **options)
    testbed.record_fault("join")
    await asyncio.sleep(int(seconds))
    testbed.record_fault("leave")
    await second.terminate()
    await testbed.emit(*segment_events(f"{testbed.name}-after", 8))
    return f"a job of {seconds} s, session timeout 6 s, window 8"


async def failover(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Run more workers than partitions; kill those that own partitions and do not start them again."""
    owners = [await testbed.start_worker(f"owner-{n}", supervised=False) for n in (1, 2)]
    for owner in owners:
        await owner.wait_until_ready()
    spare = await testbed.start_worker("spare", supervised=False)
    await spare.wait_until_ready()
    await testbed.emit(*segment_events(testbed.name, 20))
    await checker.wait_for_outcomes(20)
    await asyncio.sleep(10 if short else 60)
    for owner in owners:
        testbed.record_fault("SIGKILL")
        owner.kill()
    await testbed.emit(*segment_events(f"{testbed.name}-more", 20))
    await checker.wait_for_outcomes(40)
    return "3 workers, 2 partitions; the spare took over"
