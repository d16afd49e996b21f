"""Scenario 17: a topic is missing, or its partition count has changed."""

from __future__ import annotations

import asyncio

from aiokafka.admin import NewPartitions

from streams.kafka import topics
from tests.faults.events import segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed, admin


async def wrong_topics(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Delete a topic before the start, which is refused, and grow the input later, which is a warning."""
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
    async with admin(testbed.cluster) as client:
        await client.create_partitions({testbed.input: NewPartitions(6)})
    testbed.record_fault("partition count changed")
    await testbed.emit(*segment_events(f"{testbed.name}-more", 12))
    grown = await testbed.start_worker("grown")
    testbed.record_recovery()
    await checker.wait_for_outcomes(24)
    checker.expect("a topic differs from the settings" in grown.log.read_text(), "no warning of the other partitions")
    return f"topic missing: the start refused with advice, {first}; input grown from 4 to 6 partitions: a warning"


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
