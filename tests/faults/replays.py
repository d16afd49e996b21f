"""Scenario 15: the events of a topic are sent again, beside live traffic."""

from __future__ import annotations

import signal

from tests.faults.events import segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import wait_until
from tests.faults.testbed import Testbed


async def replays(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Replay a topic twice: kill the worker during the first replay; cancel and resume the second around a restart."""
    worker = await testbed.start_worker(FAKE_DELAY="0.05")
    old, live = segment_events(testbed.name, 30), segment_events(f"{testbed.name}-live", 30)
    await testbed.emit(*old)
    await checker.wait_for_outcomes(30)
    before = (await checker.report()).pictures
    testbed.record_fault("replay")
    await testbed.emit(*old[:15], *live[:15])
    testbed.record_fault("SIGKILL")
    worker.kill()
    await testbed.emit(*old[15:])
    await checker.wait_for_zero_lag()
    testbed.record_fault("replay cancelled half-way")
    await testbed.emit(*old[:15])
    testbed.record_fault("restart by SIGTERM")
    worker.signal(signal.SIGTERM)
    await testbed.emit(*live[15:])
    await wait_until(lambda: len(worker.exit_codes) == 2)
    await worker.wait_until_ready()
    testbed.record_fault("replay resumed")
    await testbed.emit(*old[15:])
    await checker.wait_for_zero_lag()
    codes = (-signal.SIGKILL, 0)
    checker.expect(tuple(worker.exit_codes) == codes, f"exit codes {worker.exit_codes}, not {codes}")
    return await _check_replay(checker, before, [str(event["event_id"]) for event in old], live)


async def _check_replay(
    checker: InvariantChecker, before: dict[str, str], old: list[str], live: list[dict[str, object]]
) -> str:
    """Compare the pictures with those from before the replays, and count the outcomes of each old event."""
    after = (await checker.report()).pictures
    checker.expect({key: after.get(key) for key in before} == before, "a replay changed pictures")
    new = after.keys() - before.keys()
    of_live = new & set().union(*(checker.pictures(str(event["event_id"])) for event in live))
    wanted = len(live) * checker.testbed.settings.studio.images
    checker.expect(len(of_live) == wanted, f"{len(of_live)} pictures of live events, not {wanted}")
    checker.expect(new == of_live, f"{len(new - of_live)} new pictures are not of live events")
    answers = min(len(checker.copies["event", event_id]) for event_id in old)
    checker.expect(answers >= 3, f"an event that was sent 3 times was answered {answers} times")
    return (
        "a replay sends the topic's events again; the second stopped after 15 of 30 and was resumed after a restart; "
        f"{len(new)} new pictures, {len(of_live)} of them of live events; each old event answered at least {answers} times"
    )
