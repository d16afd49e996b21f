"""Measure how much training slows rendering: a `render` and a `train` worker of the demo family on one device.

    python -m benchmarks.two_roles [--cores 1] [--segments 8] [--candidates 2] [--steps 30]

Starts its own Kafka and MinIO (scripts/services). Both workers run the real studio with one thread each and share
`--cores` cores as their device. The benchmark sends one segment at a time and waits for its answer, first while the
trainer is idle, then while it trains on two products, one after the other. Latency is the time from producing the event
to reading its creative-ready. The bound: on one core each of the two processes gets half of it, so rendering may take
twice as long; on two cores each process has its own. Time above the bound comes from caches, the memory bus and this
program. Memory is the resident size of all processes of a worker, sampled twice a second; libraries that several
processes map count several times.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from tests.faults.cluster import ROOT, Cluster
from tests.faults.events import segment_event
from tests.faults.processes import WorkerProcess
from tests.faults.rows import describe_machine
from tests.faults.testbed import Testbed

SETTINGS = {
    "FAULT_ENTRY": "models.serving:serve",
    "CREATIVES_STUDIO__THREADS": "1",
    "CREATIVES_STUDIO__IMAGES": "1",
    "CREATIVES_DEVICE__DEADLINE": "120",
    "CREATIVES_DEVICE__START_DEADLINE": "300",
    "CREATIVES_KAFKA__SESSION_TIMEOUT": "30",
    "CREATIVES_TRAINING__DREAMBOOTH__PRIOR_LOSS_WEIGHT": "0",  # saves the minutes that class images take
}
PRODUCTS = (("milk", "carton of milk", "dreambooth"), ("jam", "jar of jam", "textual_inversion"))
TIMEOUT = 600.0
WARM_UP = 2
SAMPLE_INTERVAL = 0.5  # seconds


@dataclass
class Memory:
    """The resident MiB of workers over time."""

    workers: dict[str, WorkerProcess]
    samples: dict[str, list[float]] = field(default_factory=dict)

    def now(self, role: str) -> float:
        """Return the MiB of a worker and its device process."""
        process = self.workers[role].process
        assert process
        return sum(_resident(pid) for pid in _session_members(process.pid))

    async def watch(self) -> None:
        """Sample until the task is cancelled."""
        while True:
            for role in self.workers:
                self.samples.setdefault(role, []).append(self.now(role))
            await asyncio.sleep(SAMPLE_INTERVAL)


def _session_members(leader: int) -> list[int]:
    """Return the process ids of a session. Each worker is the leader of its own session."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ValueError, OSError):
            if os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


@contextlib.asynccontextmanager
async def open_consumer(testbed: Testbed) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer of the topic that the testbed's workers publish to."""
    consumer = AIOKafkaConsumer(
        testbed.output, bootstrap_servers=testbed.cluster.bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def measure_latencies(
    testbed: Testbed, answers: AIOKafkaConsumer, name: str, wants_more: Callable[[int], bool]
) -> list[float]:
    """Send segments one at a time while `wants_more(number so far)`; return the seconds of each."""
    taken: list[float] = []
    while wants_more(len(taken)):
        event = segment_event(f"{name}-{len(taken)}", f"segment-{len(taken)}")
        start = time.perf_counter()
        await testbed.emit(event)
        async with asyncio.timeout(TIMEOUT):
            while json.loads((await answers.getone()).value)["event_id"] != event["event_id"]:
                pass
        taken.append(time.perf_counter() - start)
    return taken


async def register(testbed: Testbed, steps: int) -> None:
    """Register both products."""
    for name, class_noun, method in PRODUCTS:
        photos = sorted((ROOT / "docs" / "examples" / "products" / name).glob("*.png"))
        for photo in photos:
            await testbed.store.put(f"photos/{name}/{photo.name}", photo.read_bytes(), "image/png")
        uris = [testbed.store.uri(f"photos/{name}/{photo.name}") for photo in photos]
        event = {"event_id": f"product-{name}", "occurred_at": "2026-11-24T10:00:00Z", "product_id": name, "name": name}
        await testbed.emit(event | {"class_noun": class_noun, "images": uris, "method": method, "steps": steps})


async def wait_for_products(answers: AIOKafkaConsumer) -> None:
    """Wait until both products are ready."""
    waiting = {f"product-{name}" for name, _, _ in PRODUCTS}
    while waiting:
        waiting.discard(json.loads((await answers.getone()).value)["event_id"])


async def measure(render: Testbed, train: Testbed, options: argparse.Namespace, scratch: Path) -> None:
    """Start both workers, measure, and print the tables."""
    async with render, train, open_consumer(render) as creatives, open_consumer(train) as products:
        workers = {
            "render": await render.start_worker("render", CREATIVES_STUDIO__CANDIDATES=str(options.candidates)),
            "train": await train.start_worker("train", CREATIVES_TRAINING__WORKDIR=str(scratch)),
        }
        for worker in workers.values():
            await worker.wait_until_ready(TIMEOUT)
        await measure_latencies(render, creatives, "warm-up", lambda count: count < WARM_UP)
        memory = Memory(workers)
        watching = asyncio.create_task(memory.watch())
        alone = await measure_latencies(render, creatives, "alone", lambda count: count < options.segments)
        before = {role: memory.now(role) for role in workers}
        await register(train, options.steps)
        training = asyncio.create_task(wait_for_products(products))
        start = time.monotonic()
        beside = await measure_latencies(render, creatives, "beside", lambda _: not training.done())
        await asyncio.wait_for(training, TIMEOUT)
        seconds = time.monotonic() - start
        await asyncio.sleep(2)
        after = {role: memory.now(role) for role in workers}
        watching.cancel()
    print_latencies(alone, beside, options.cores, seconds)
    print_line("\n| worker | MiB before | at most | after |\n|---|---|---|---|")
    for role in workers:
        print_line(f"| {role} | {before[role]:.0f} | {max(memory.samples[role]):.0f} | {after[role]:.0f} |")


def print_latencies(alone: list[float], beside: list[float], cores: int, seconds: float) -> None:
    """Print the latencies, their ratio and the bound."""
    usual = statistics.median(alone)
    print_line("| segments | answered | median s | slowest s | times idle |\n|---|---|---|---|---|")
    for name, taken in (("while the trainer is idle", alone), ("while it trains", beside)):
        median = statistics.median(taken)
        print_line(f"| {name} | {len(taken)} | {median:.2f} | {max(taken):.2f} | {median / usual:.2f} |")
    ratio, bound = statistics.median(beside) / usual, max(1.0, 2 / cores)
    share = min(1.0, cores / 2)
    print_line(
        f"\nThe training on two products took {seconds:.0f} s. Each of the two processes gets {share:.2f} of {cores}"
    )
    print_line(f"core(s), so rendering may take {bound:.2f} times as long. It took {ratio:.2f} times as long.")


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=1, help="cores that both workers share")
    parser.add_argument("--segments", type=int, default=8, help="measured while the trainer is idle")
    parser.add_argument("--candidates", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30, help="steps of each training job")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="two-roles-") as name:
        folder = Path(name)
        cluster = Cluster.plan(folder / "services", 1)
        try:
            await asyncio.to_thread(cluster.up)
            available = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, available[-options.cores :])  # the workers inherit this; the services already run
            print_line(f"{describe_machine()}; {options.cores} of them for both workers\n")
            render = Testbed(cluster, "render", folder, SETTINGS | {"CREATIVES_ROLE": "render"})
            train = Testbed(cluster, "train", folder, SETTINGS | {"CREATIVES_ROLE": "train"})
            await measure(render, train, options, folder / "training")
        finally:
            await asyncio.to_thread(cluster.down)


if __name__ == "__main__":
    asyncio.run(main())
