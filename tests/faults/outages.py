"""Scenarios 9, 10 and 11: the brokers or the store are down, slow or return errors."""

from __future__ import annotations

import asyncio

from tests.faults.events import segment_events
from tests.faults.fault_proxies import FaultProxies
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed, admin, retry


async def brokers_down(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Kill all brokers while the worker works, and start them again."""
    seconds = 15 if short else 30
    worker = await testbed.start_worker(FAKE_DELAY="0.5", CREATIVES_DEVICE__BATCH="2")
    await worker.wait_until_ready()
    await testbed.emit(*segment_events(testbed.name, 30))
    await checker.wait_for_outcomes(4)
    nodes = [node for name, node in testbed.cluster.nodes().items() if name.startswith("kafka")]
    await asyncio.gather(*(asyncio.to_thread(node.kill) for node in nodes))
    testbed.record_fault("broker killed", len(nodes))
    await asyncio.sleep(seconds)
    for node in nodes:
        node.start()
    await asyncio.gather(*(asyncio.to_thread(node.wait) for node in nodes))
    testbed.record_recovery()
    await retry(lambda: testbed.emit(*segment_events(f"{testbed.name}-after", 10)), 90)
    return f"all {len(nodes)} brokers SIGKILLed for {seconds} s; {len(worker.exit_codes)} worker exits"


async def one_broker_killed(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Kill each of the three brokers in turn: leaders and the group's coordinator move."""
    worker = await testbed.start_worker(FAKE_DELAY="0.3", CREATIVES_DEVICE__BATCH="2")
    await worker.wait_until_ready()
    brokers = [node for name, node in testbed.cluster.nodes().items() if name.startswith("kafka")]
    chosen = brokers[:1] if short else brokers
    for number, node in enumerate(chosen):
        await testbed.emit(*segment_events(f"{testbed.name}-{number}", 12))
        await asyncio.to_thread(node.kill)
        testbed.record_fault("broker killed")
        await asyncio.sleep(8)
        node.start()
        await asyncio.to_thread(node.wait)
        testbed.record_recovery()
        await asyncio.sleep(3)
    return f"{len(worker.exit_codes)} worker exits"


async def frozen_broker(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Freeze the coordinator, then another broker, for longer than the request timeout; connections stay open."""
    seconds = 12 if short else 20
    worker = await testbed.start_worker(FAKE_DELAY="0.3", CREATIVES_DEVICE__BATCH="2")
    await worker.wait_until_ready()
    await testbed.emit(*segment_events(f"{testbed.name}-warm", 4))
    await checker.wait_for_outcomes(4)
    async with admin(testbed.cluster) as client:
        coordinator = await client.find_coordinator(testbed.group)
    brokers = len(testbed.cluster.kafka)
    for turn, number in enumerate((coordinator, coordinator % brokers + 1)):
        await testbed.emit(*segment_events(f"{testbed.name}-{turn}", 20))
        node = testbed.cluster.nodes()[f"kafka-{number}"]
        node.pause()
        testbed.record_fault("broker frozen")
        await asyncio.sleep(seconds)
        node.resume()
        testbed.record_recovery()
        await checker.wait_for_outcomes(24 + 20 * turn)
    return f"coordinator, then another, for {seconds} s each; {len(worker.exit_codes)} worker exits"


async def commit_errors(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Make offset commits fail."""
    injections = "offsets/outage/1 offsets/outage/1 offsets-done/outage/1 offsets/raise/1"
    worker = await testbed.start_worker(FAULT_INJECTIONS=injections)
    for number in range(4):
        await testbed.emit(*segment_events(f"{testbed.name}-{number}", 6))
        await checker.wait_for_outcomes(6 * number + 6)
        await asyncio.sleep(3)
    injected, total = testbed.record_injected_faults("commit failed"), len(injections.split())
    checker.expect(injected == total, f"{injected} of {total} commits failed")
    return f"{len(worker.exit_codes)} worker exits"


async def publish_fails(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Make publishing fail after the upload, before and after the broker confirms; then kill the process there."""
    injections = "publish/outage/2 published/outage/2 publish/kill/3 published/kill/3"
    worker = await testbed.start_worker(FAULT_INJECTIONS=injections, CREATIVES_KAFKA__INSTANCE_ID="worker-1")
    for number in range(6):
        await testbed.emit(*segment_events(f"{testbed.name}-{number}", 5))
        await asyncio.sleep(2)
    await checker.wait_for_outcomes(30)
    injected, total = testbed.record_injected_faults("publish failed"), len(injections.split())
    checker.expect(injected == total, f"{injected} of {total} faults at publishing")
    return f"{len(worker.exit_codes)} worker exits"


async def slow_network(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Delay every chunk to and from the brokers; end the delay while events still wait."""
    rtt = 2.0 if short else 5.0
    async with FaultProxies(testbed) as proxies:
        for proxy in proxies.kafka:
            proxy.set(latency=rtt / 2)
        worker = await testbed.start_worker(**proxies.environ, CREATIVES_KAFKA__SESSION_TIMEOUT="30")
        await testbed.emit(*segment_events(testbed.name, 12))
        await checker.wait_for_outcomes(12, 180)
        await testbed.emit(*segment_events(f"{testbed.name}-more", 12))
        await asyncio.sleep(2 * rtt)
        testbed.record_fault("late chunks", sum(proxy.faults for proxy in proxies.kafka))
        for proxy in proxies.kafka:
            proxy.set()
        testbed.record_recovery()
        await checker.wait_for_zero_lag(120)
        await worker.kill_all()
    return f"round trip {rtt:g} s to every broker"


async def store_down(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Kill MinIO and start it again: events wait and none is dead-lettered."""
    seconds = 20 if short else 120
    worker = await testbed.start_worker(FAKE_DELAY="0.1")
    await worker.wait_until_ready()
    await testbed.emit(*segment_events(testbed.name, 10))
    await checker.wait_for_outcomes(5)
    store = testbed.cluster.nodes()["minio"]
    await asyncio.to_thread(store.kill)
    testbed.record_fault("store killed")
    await testbed.emit(*segment_events(f"{testbed.name}-during", 90))
    await asyncio.sleep(seconds)
    checker.expect(not checker.dead_letter_reasons, "an outage of the store dead-lettered events")
    store.start()
    await asyncio.to_thread(store.wait)
    testbed.record_recovery()
    return f"{seconds} s without a store; {len(checker.dead_letter_reasons)} dead letters; {len(worker.exit_codes)} worker exits"


async def store_errors(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Let the store be slow, answer 503, hang, cut uploads in the middle and refuse connections."""
    async with FaultProxies(testbed) as proxies:
        store = proxies.store
        worker = await testbed.start_worker(**proxies.environ, FAKE_DELAY="0.05")
        await worker.wait_until_ready()
        behaviours = (
            {"latency": 0.4},
            {"mode": "unavailable"},
            {"mode": "silent"},
            {"cut_after": 700},
            {"mode": "refuse"},
        )
        for number, behaviour in enumerate(behaviours):
            await testbed.emit(*segment_events(f"{testbed.name}-{number}", 8))
            store.set(**behaviour)
            await asyncio.sleep(5 if short else 15)
            store.set()
            store.cut()
            testbed.record_fault("disturbed connections and chunks", store.faults - sum(testbed.faults.values()))
            await checker.wait_for_outcomes(8 * number + 8)
        await checker.wait_for_zero_lag(60)
        checker.expect(not checker.dead_letter_reasons, "errors of the store dead-lettered events")
        await worker.kill_all()
    return "slow, 503, hung, cut in the middle, refused"
