"""Scenario 17: a topic is missing, or its partition count has changed."""

from __future__ import annotations

import asyncio

from aiokafka.admin import NewPartitions

from streams.kafka import topics
from tests.faults.events import segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed, admin


async def wrong_topics(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Delete a topic before the start and grow one later. Events wait until both are fixed as the worker advises."""
    async with admin(testbed.cluster) as client:
        await client.delete_topics([testbed.settings.topics.creative_ready])
    testbed.record_fault("topic missing")
    await asyncio.sleep(1)
    await testbed.emit(*segment_events(testbed.name, 12))
    first = await _start_refused_worker(testbed, checker, "missing", "creatives topics --create")
    await topics.create(testbed.direct_settings)
    worker = await testbed.start_worker("running")
    await checker.wait_for_outcomes(12)
    await checker.wait_for_zero_lag()
    await worker.terminate()
    await _add_partitions(testbed, [testbed.input])
    testbed.record_fault("partition count changed")
    await testbed.emit(*segment_events(f"{testbed.name}-more", 12))
    second = await _start_refused_worker(testbed, checker, "grown", "has 6 partitions, not 4")
    others = [spec.name for spec in topics.expected_topics(testbed.direct_settings) if spec.name != testbed.input]
    await _add_partitions(testbed, others)
    await checker.read_partitions(6)
    await testbed.start_worker("fixed", CREATIVES_TOPICS__PARTITIONS="6")
    testbed.record_recovery()
    return f"the start refused with advice: {first}; {second}"


async def _start_refused_worker(testbed: Testbed, checker: InvariantChecker, name: str, advice: str) -> str:
    """Start a worker that must log this advice and exit without a commit; return a summary."""
    before = await testbed.committed_offsets()
    worker = await testbed.start_worker(name, supervised=False)
    code = await worker.wait_for_exit()
    checker.expect(code > 0, f"a worker that cannot work exited with {code}")
    checker.expect(advice in worker.log.read_text(), f"no {advice!r} in the log of {name}")
    after, waiting = await testbed.committed_offsets(), testbed.count_uncommitted(before)
    consumed = waiting - testbed.count_uncommitted(after)
    checker.expect(after == before, f"a worker that refuses to start committed {after} after {before}")
    return f"exit code {code}, {consumed} of {waiting} waiting events consumed"


async def _add_partitions(testbed: Testbed, names: list[str], partitions: int = 6) -> None:
    async with admin(testbed.cluster) as client:
        await client.create_partitions({name: NewPartitions(partitions) for name in names})
