"""What training costs those who wait for pictures: a `render` and a `train` worker of the demo family on one device.

    python -m benchmarks.two_roles [--cores 1] [--segments 8] [--candidates 2] [--steps 30]

On a real Kafka and MinIO of its own (scripts/services). Both workers run the real studio with one thread each and share
`--cores` cores: that is the device. Segments are sent one at a time, each when the one before it is answered; first
while the trainer stands idle, then while it learns two products, both registered at once, one after the other.
Latency is from producing the event to reading its creative-ready. The bound: two processes on one core get half of it
each, so rendering may take twice as long and no more; on two cores each has its own. What is above the bound comes from
caches, the memory's bus and this program. Memory is the resident size of all processes of a worker together, sampled
twice a second: each maps the same libraries, so the figures count those twice.
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
from tests.faults.ground import Ground, segment
from tests.faults.processes import Worker
from tests.faults.rows import machine

SETTINGS = {
    "FAULT_ENTRY": "models.serving:serve",
    "CREATIVES_STUDIO__THREADS": "1",
    "CREATIVES_STUDIO__IMAGES": "1",
    "CREATIVES_DEVICE__DEADLINE": "120",
    "CREATIVES_DEVICE__START_DEADLINE": "300",
    "CREATIVES_KAFKA__SESSION_TIMEOUT": "30",
    "CREATIVES_TRAINING__DREAMBOOTH__PRIOR_LOSS_WEIGHT": "0",  # spares the minutes in which class images are made
}
LESSONS = (("milk", "carton of milk", "dreambooth"), ("jam", "jar of jam", "textual_inversion"))
PATIENCE = 600.0
WARM_UP = 2
SAMPLE = 0.5  # seconds


@dataclass
class Memory:
    """The resident MiB of workers over time."""

    workers: dict[str, Worker]
    samples: dict[str, list[float]] = field(default_factory=dict)

    def now(self, role: str) -> float:
        """Return what a worker and its device process hold now."""
        process = self.workers[role].process
        assert process
        return sum(_resident(pid) for pid in _session(process.pid))

    async def watch(self) -> None:
        """Sample for ever."""
        while True:
            for role in self.workers:
                self.samples.setdefault(role, []).append(self.now(role))
            await asyncio.sleep(SAMPLE)


def _session(leader: int) -> list[int]:
    """Return the processes of a session: a worker is started as the leader of its own."""
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
async def reading(place: Ground) -> AsyncIterator[AIOKafkaConsumer]:
    """Read what a ground's workers publish."""
    consumer = AIOKafkaConsumer(
        place.output, bootstrap_servers=place.cluster.bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def latencies(place: Ground, answers: AIOKafkaConsumer, name: str, go_on: Callable[[int], bool]) -> list[float]:
    """Send segments one at a time for as long as `go_on(how many)`; return the seconds each took."""
    taken: list[float] = []
    while go_on(len(taken)):
        event = segment(f"{name}-{len(taken)}", f"segment-{len(taken)}")
        began = time.perf_counter()
        await place.emit(event)
        async with asyncio.timeout(PATIENCE):
            while json.loads((await answers.getone()).value)["event_id"] != event["event_id"]:
                pass
        taken.append(time.perf_counter() - began)
    return taken


async def register(place: Ground, steps: int) -> None:
    """Register both products at once."""
    for name, class_noun, method in LESSONS:
        photos = sorted((ROOT / "docs" / "examples" / "products" / name).glob("*.png"))
        for photo in photos:
            await place.store.put(f"photos/{name}/{photo.name}", photo.read_bytes(), "image/png")
        uris = [place.store.uri(f"photos/{name}/{photo.name}") for photo in photos]
        event = {"event_id": f"product-{name}", "occurred_at": "2026-11-24T10:00:00Z", "product_id": name, "name": name}
        await place.emit(event | {"class_noun": class_noun, "images": uris, "method": method, "steps": steps})


async def learned(answers: AIOKafkaConsumer) -> None:
    """Wait until both products are ready."""
    waiting = {f"product-{name}" for name, _, _ in LESSONS}
    while waiting:
        waiting.discard(json.loads((await answers.getone()).value)["event_id"])


async def measure(render: Ground, train: Ground, given: argparse.Namespace, scratch: Path) -> None:
    """Start both workers, measure, print the tables."""
    async with render, train, reading(render) as creatives, reading(train) as products:
        workers = {
            "render": await render.worker("render", CREATIVES_STUDIO__CANDIDATES=str(given.candidates)),
            "train": await train.worker("train", CREATIVES_TRAINING__WORKDIR=str(scratch)),
        }
        for worker in workers.values():
            await worker.ready(PATIENCE)
        await latencies(render, creatives, "warm-up", lambda count: count < WARM_UP)
        memory = Memory(workers)
        watching = asyncio.create_task(memory.watch())
        alone = await latencies(render, creatives, "alone", lambda count: count < given.segments)
        before = {role: memory.now(role) for role in workers}
        await register(train, given.steps)
        learning = asyncio.create_task(learned(products))
        began = time.monotonic()
        beside = await latencies(render, creatives, "beside", lambda _: not learning.done())
        await asyncio.wait_for(learning, PATIENCE)
        seconds = time.monotonic() - began
        await asyncio.sleep(2)
        after = {role: memory.now(role) for role in workers}
        watching.cancel()
    tell(alone, beside, given.cores, seconds)
    say("\n| worker | MiB before | at most | after |\n|---|---|---|---|")
    for role in workers:
        say(f"| {role} | {before[role]:.0f} | {max(memory.samples[role]):.0f} | {after[role]:.0f} |")


def tell(alone: list[float], beside: list[float], cores: int, seconds: float) -> None:
    """Print the latencies, their ratio and the bound."""
    usual = statistics.median(alone)
    say("| segments | answered | median s | slowest s | of alone |\n|---|---|---|---|---|")
    for name, taken in (("alone", alone), ("while two products are learned", beside)):
        median = statistics.median(taken)
        say(f"| {name} | {len(taken)} | {median:.2f} | {max(taken):.2f} | {median / usual:.2f} |")
    ratio, bound = statistics.median(beside) / usual, max(1.0, 2 / cores)
    say(f"\nTwo products were learned in {seconds:.0f} s. Two processes of one thread on {cores} core(s): each has")
    say(
        f"{min(1.0, cores / 2):.2f} of a core, so {bound:.2f} times as long is the share's doing; measured {ratio:.2f}."
    )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=1, help="cores that both workers share")
    parser.add_argument("--segments", type=int, default=8, help="measured while nothing is learned")
    parser.add_argument("--candidates", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30, help="of each lesson")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="two-roles-") as name:
        folder = Path(name)
        cluster = Cluster.plan(folder / "services", 1)
        try:
            await asyncio.to_thread(cluster.up)
            mine = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, mine[-given.cores :])  # what is started from here on inherits it, services do not
            say(f"{machine()}; {given.cores} of them for both workers\n")
            render = Ground(cluster, "render", folder, SETTINGS | {"CREATIVES_ROLE": "render"})
            train = Ground(cluster, "train", folder, SETTINGS | {"CREATIVES_ROLE": "train"})
            await measure(render, train, given, folder / "lessons")
        finally:
            await asyncio.to_thread(cluster.down)


if __name__ == "__main__":
    asyncio.run(main())
