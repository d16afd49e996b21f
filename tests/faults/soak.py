"""Scenario 18: random faults for minutes."""

from __future__ import annotations

import asyncio
import random

from tests.faults.events import segment_events
from tests.faults.fault_proxies import FaultProxies
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import WorkerProcess
from tests.faults.testbed import Testbed


async def soak(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Inject faults at random for a while; report the memory of a worker that is never killed."""
    seconds = 45 if short else 300
    chance = random.Random(18)
    async with FaultProxies(testbed) as proxies:
        steady = await testbed.start_worker("steady", **proxies.environ)
        victim = await testbed.start_worker("victim", **proxies.environ)
        await steady.wait_until_ready()
        await testbed.emit(*segment_events(f"{testbed.name}-warm", 60))
        await checker.wait_for_outcomes(60)
        before, number = steady.memory(), 0
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await testbed.emit(*segment_events(f"{testbed.name}-{number}", 12))
            number += 1
            await _inject_random_fault(chance, testbed, proxies, victim)
        await checker.wait_for_outcomes(len(testbed.sent), 120)
        await checker.wait_for_zero_lag(60)
        after = steady.memory()
        await steady.kill_all()
        await victim.kill_all()
    return f"{seconds} s; the steady worker: memory {before:.0f} -> {after:.0f} MiB, {len(steady.exit_codes)} exits"


async def _inject_random_fault(
    chance: random.Random, testbed: Testbed, proxies: FaultProxies, victim: WorkerProcess
) -> None:
    kind = chance.choice(("kill", "cut store", "503", "cut broker", "slow store", "nothing"))
    if kind != "nothing":
        testbed.record_fault(kind)
    match kind:
        case "kill":
            victim.kill()
        case "cut store":
            proxies.store.cut()
        case "503":
            proxies.store.set(mode="unavailable")
        case "cut broker":
            chance.choice(proxies.kafka).cut()
        case "slow store":
            proxies.store.set(latency=0.1)
    await asyncio.sleep(chance.uniform(1, 4))
    proxies.store.set()
    if kind in {"503", "slow store"}:
        testbed.record_recovery()
