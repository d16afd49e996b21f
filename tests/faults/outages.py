"""Scenarios in which broker or store are away or unwell: 9, 10, 11, and the soak, 18."""

from __future__ import annotations

import asyncio
import random
from typing import Self

from tests.faults.ground import Ground, admin, flow, patiently
from tests.faults.invariants import Auditor
from tests.faults.processes import Worker
from tests.faults.proxy import FaultProxy


async def brokers_down(ground: Ground, auditor: Auditor, short: bool) -> str:
    """All brokers go away in mid-work and come back."""
    seconds = 15 if short else 30
    worker = await ground.worker(FAKE_DELAY="0.5", CREATIVES_DEVICE__BATCH="2")
    await worker.ready()
    await ground.emit(*flow(ground.name, 30))
    await auditor.until(4)
    nodes = [node for name, node in ground.cluster.nodes().items() if name.startswith("kafka")]
    await asyncio.gather(*(asyncio.to_thread(node.kill) for node in nodes))
    ground.fault("broker killed", len(nodes))
    await asyncio.sleep(seconds)
    for node in nodes:
        node.start()
    await asyncio.gather(*(asyncio.to_thread(node.wait) for node in nodes))
    ground.healed()
    await patiently(lambda: ground.emit(*flow(f"{ground.name}-after", 10)), 90)
    return f"all {len(nodes)} brokers SIGKILLed for {seconds} s; {len(worker.exits)} worker exits"


async def one_broker_killed(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Each of the three brokers is killed in turn: leaders and the group's coordinator move."""
    worker = await ground.worker(FAKE_DELAY="0.3", CREATIVES_DEVICE__BATCH="2")
    await worker.ready()
    brokers = [node for name, node in ground.cluster.nodes().items() if name.startswith("kafka")]
    chosen = brokers[:1] if short else brokers
    for number, node in enumerate(chosen):
        await ground.emit(*flow(f"{ground.name}-{number}", 12))
        await asyncio.to_thread(node.kill)
        ground.fault("broker killed")
        await asyncio.sleep(8)
        node.start()
        await asyncio.to_thread(node.wait)
        ground.healed()
        await asyncio.sleep(3)
    return f"{len(worker.exits)} worker exits"


async def frozen_broker(ground: Ground, auditor: Auditor, short: bool) -> str:
    """A broker stops answering with its connections open, longer than the request timeout: the coordinator, then another."""
    seconds = 12 if short else 20
    worker = await ground.worker(FAKE_DELAY="0.3", CREATIVES_DEVICE__BATCH="2")
    await worker.ready()
    await ground.emit(*flow(f"{ground.name}-warm", 4))
    await auditor.until(4)
    async with admin(ground.cluster) as client:
        coordinator = await client.find_coordinator(ground.group)
    brokers = len(ground.cluster.kafka)
    for turn, number in enumerate((coordinator, coordinator % brokers + 1)):
        await ground.emit(*flow(f"{ground.name}-{turn}", 20))
        node = ground.cluster.nodes()[f"kafka-{number}"]
        node.pause()
        ground.fault("broker frozen")
        await asyncio.sleep(seconds)
        node.resume()
        ground.healed()
        await auditor.until(24 + 20 * turn)
    return f"coordinator, then another, for {seconds} s each; {len(worker.exits)} worker exits"


async def commit_errors(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Offset commits fail."""
    traps = "offsets/outage/1 offsets/outage/1 offsets-done/outage/1 offsets/raise/1"
    worker = await ground.worker(FAULT_TRAPS=traps)
    for number in range(4):
        await ground.emit(*flow(f"{ground.name}-{number}", 6))
        await auditor.until(6 * number + 6)
        await asyncio.sleep(3)
    sprung = ground.trapped("commit failed")
    auditor.demand(sprung == len(traps.split()), f"{sprung} of {len(traps.split())} commits failed")
    return f"{len(worker.exits)} worker exits"


async def publish_fails(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Publishing fails after the upload: unconfirmed, and confirmed but believed lost; then the process dies there."""
    traps = "publish/outage/2 published/outage/2 publish/kill/3 published/kill/3"
    worker = await ground.worker(FAULT_TRAPS=traps, CREATIVES_KAFKA__INSTANCE_ID="worker-1")
    for number in range(6):
        await ground.emit(*flow(f"{ground.name}-{number}", 5))
        await asyncio.sleep(2)
    await auditor.until(30)
    sprung = ground.trapped("publish failed")
    auditor.demand(sprung == len(traps.split()), f"{sprung} of {len(traps.split())} faults at publishing")
    return f"{len(worker.exits)} worker exits"


async def slow_network(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Every chunk to and from the brokers is late; events still wait when the network is well again."""
    rtt = 2.0 if short else 5.0
    async with Proxied(ground) as proxies:
        for proxy in proxies.kafka:
            proxy.set(latency=rtt / 2)
        worker = await ground.worker(**proxies.environ, CREATIVES_KAFKA__SESSION_TIMEOUT="30")
        await ground.emit(*flow(ground.name, 12))
        await auditor.until(12, 180)
        await ground.emit(*flow(f"{ground.name}-more", 12))
        await asyncio.sleep(2 * rtt)
        ground.fault("late chunks", sum(proxy.faults for proxy in proxies.kafka))
        for proxy in proxies.kafka:
            proxy.set()
        ground.healed()
        await auditor.settled(120)
        await worker.destroy()
    return f"round trip {rtt:g} s to every broker"


async def store_down(ground: Ground, auditor: Auditor, short: bool) -> str:
    """MinIO is killed and comes back: nothing is buried, nothing but the backlog grows."""
    seconds = 20 if short else 120
    worker = await ground.worker(FAKE_DELAY="0.1")
    await worker.ready()
    await ground.emit(*flow(ground.name, 10))
    await auditor.until(5)
    store = ground.cluster.nodes()["minio"]
    await asyncio.to_thread(store.kill)
    ground.fault("store killed")
    await ground.emit(*flow(f"{ground.name}-during", 90))
    await asyncio.sleep(seconds)
    if auditor.reasons:
        auditor.violations.append("an outage of the store buried events")
    store.start()
    await asyncio.to_thread(store.wait)
    ground.healed()
    return f"{seconds} s without a store; {len(auditor.reasons)} dead letters; {len(worker.exits)} worker exits"


async def store_unwell(ground: Ground, auditor: Auditor, short: bool) -> str:
    """The store is slow, answers 503, hangs, and cuts uploads in the middle."""
    async with Proxied(ground) as proxies:
        store = proxies.store
        worker = await ground.worker(**proxies.environ, FAKE_DELAY="0.05")
        await worker.ready()
        troubles = (
            {"latency": 0.4},
            {"mode": "unavailable"},
            {"mode": "silent"},
            {"cut_after": 700},
            {"mode": "refuse"},
        )
        for number, error_message in enumerate(troubles):
            await ground.emit(*flow(f"{ground.name}-{number}", 8))
            store.set(**error_message)
            await asyncio.sleep(5 if short else 15)
            store.set()
            store.cut()
            ground.fault("harmed connections and chunks", store.faults - sum(ground.faults.values()))
            await auditor.until(8 * number + 8)
        await auditor.settled(60)
        if auditor.reasons:
            auditor.violations.append("a store in trouble buried events")
        await worker.destroy()
    return "slow, 503, hung, cut in the middle, refused"


class Proxied:
    """Fault proxies before the store and, on listeners that advertise them, before every broker."""

    def __init__(self, ground: Ground) -> None:
        self.store = FaultProxy(ground.cluster.minio)
        self.kafka = [FaultProxy(behind, front) for behind, front in ground.cluster.proxied]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "CREATIVES_STORAGE__ENDPOINT": f"http://{self.store.address}",
            "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": ",".join(proxy.address for proxy in self.kafka),
        }

    async def __aenter__(self) -> Self:
        for proxy in (self.store, *self.kafka):
            await proxy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for proxy in (self.store, *self.kafka):
            await proxy.__aexit__()


async def soak(ground: Ground, auditor: Auditor, short: bool) -> str:
    """Everything at random for a while, and the worker that lived through it is not larger than before."""
    seconds = 45 if short else 300
    chance = random.Random(18)
    async with Proxied(ground) as proxies:
        steady = await ground.worker("steady", **proxies.environ)
        victim = await ground.worker("victim", **proxies.environ)
        await steady.ready()
        await ground.emit(*flow(f"{ground.name}-warm", 60))
        await auditor.until(60)
        before, number = steady.memory(), 0
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await ground.emit(*flow(f"{ground.name}-{number}", 12))
            number += 1
            await _one_fault(chance, ground, proxies, victim)
        await auditor.until(len(ground.sent), 120)
        await auditor.settled(60)
        after = steady.memory()
        await steady.destroy()
        await victim.destroy()
    return f"{seconds} s; memory of the steady worker {before:.0f} -> {after:.0f} MiB, {len(steady.exits)} exits of it"


async def _one_fault(chance: random.Random, ground: Ground, proxies: Proxied, victim: Worker) -> None:
    kind = chance.choice(("kill", "cut store", "503", "cut broker", "slow store", "nothing"))
    if kind != "nothing":
        ground.fault(kind)
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
        ground.healed()
