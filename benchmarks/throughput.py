"""Measure a worker whose studio does nothing: events per second, added latency and memory.

    python -m benchmarks.throughput [--events 10000] [--rounds 5] [--soak 50000] [--page docs/throughput.md]

Writes the page (benchmarks/figures.py) and exits with code 1 if a limit is exceeded. Starts its own Kafka and MinIO
(scripts/services). The contenders (benchmarks/machinery.py) take turns, so a busy machine slows all of them: bare
aiokafka, a stock Faust agent, this service with an in-memory store, and this service with MinIO.
Rates come from the timestamps of the first and the last published record; the page shows medians over the rounds.
Latency is the time from producing an event to reading its answer at 40 events/s, without and with the device's linger.
Memory is the worker's resident size after each fifth of the soak; the first fifth is warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.figures import PAGE, Figures, limits, write
from benchmarks.machinery import STORE_TIMES
from tests.faults.cluster import Cluster
from tests.faults.events import segment_events
from tests.faults.processes import WorkerProcess
from tests.faults.rows import describe_machine
from tests.faults.testbed import Testbed
from tests.faults.worker_settings import read_settings

KINDS = ("bare", "stock", "memory", "minio")
WIDE = {
    "CREATIVES_DELIVERY__WINDOW": "512",
    "CREATIVES_DELIVERY__CONCURRENCY": "128",
    "CREATIVES_DEVICE__BATCH": "128",
    "CREATIVES_DEVICE__LINGER": "0",
    "CREATIVES_STUDIO__CANDIDATES": "1",
    "CREATIVES_STUDIO__IMAGES": "1",
    "CREATIVES_KAFKA__SESSION_TIMEOUT": "30",
    "FAKE_DELAY": "0",
}


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def make_testbed(cluster: Cluster, folder: Path, kind: str, name: str, **more: str) -> Testbed:
    return Testbed(cluster, f"{name}-{kind}", folder, WIDE | more, ("benchmarks.machinery", kind))


def changed_settings() -> list[tuple[str, str, str]]:
    """Return the name, the value in WIDE and the default of each setting in WIDE."""
    default = read_settings({})
    names = [name for name in WIDE if name.startswith("CREATIVES_")]
    parts = [name.removeprefix("CREATIVES_").lower().split("__") for name in names]
    return [
        (f"`{name}`", WIDE[name], f"{getattr(getattr(default, group), field):g}")
        for name, (group, field) in zip(names, parts, strict=True)
    ]


class Answers:
    """Reads the topic of answers."""

    def __init__(self, testbed: Testbed) -> None:
        topics = testbed.settings.topics
        self.partitions = [TopicPartition(topics.creative_ready, number) for number in range(topics.partitions)]
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=testbed.cluster.bootstrap_servers, group_id=None, auto_offset_reset="earliest",
            fetch_max_wait_ms=5000, fetch_min_bytes=1, max_partition_fetch_bytes=2**23,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        await self.consumer.start()
        self.consumer.assign(self.partitions)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.consumer.stop()

    async def count(self) -> int:
        """Return the number of answers without reading them."""
        return sum((await self.consumer.end_offsets(self.partitions)).values())

    async def wait_for(self, count: int, worker: WorkerProcess, seconds: float = 300) -> None:
        """Wait until there are `count` answers. Raises RuntimeError if the worker exits."""
        async with asyncio.timeout(seconds):
            while True:
                if await self.count() >= count:
                    return
                if worker.exit_codes:
                    raise RuntimeError(f"the worker exited; see {worker.log}")
                await asyncio.sleep(0.3)

    async def times(self, count: int) -> list[float]:
        """Return the times of publication in seconds, ascending."""
        await self.consumer.seek_to_beginning()
        found: list[float] = []
        while len(found) < count:
            batches = await self.consumer.getmany(timeout_ms=1000)
            found += [record.timestamp / 1000 for records in batches.values() for record in records]
        return sorted(found)


async def rate(testbed: Testbed, events: int) -> float:
    """Return the events per second of one worker on a backlog; the first tenth is warm-up."""
    async with testbed, Answers(testbed) as answers:
        await testbed.emit(*segment_events(testbed.name, events, 64))
        worker = await testbed.start_worker()
        await answers.wait_for(events, worker)
        times = (await answers.times(events))[events // 10 :]
        return (len(times) - 1) / max(times[-1] - times[0], 1e-3)


async def latency(testbed: Testbed, events: int = 200, per_second: float = 40) -> tuple[float, float]:
    """Return the median milliseconds from producing an event to reading its answer, and the store's share of them."""
    async with testbed, Answers(testbed) as answers:
        started: dict[str, float] = {}
        taken: list[float] = []
        worker = await testbed.start_worker()
        await testbed.emit(*segment_events(f"{testbed.name}-warm", 20))
        await answers.wait_for(20, worker)

        async def read() -> None:
            while len(taken) < events:
                record = await answers.consumer.getone()
                event_id = json.loads(record.value)["event_id"]
                if event_id in started:
                    taken.append(1000 * (time.perf_counter() - started[event_id]))

        reading = asyncio.create_task(read())
        for event in segment_events(testbed.name, events):
            started[str(event["event_id"])] = time.perf_counter()
            await testbed.emit(event)
            await asyncio.sleep(1 / per_second)
        await asyncio.wait_for(reading, 30)
        return statistics.median(taken), store_time(testbed, events)


def store_time(testbed: Testbed, requests: int) -> float:
    """Return how many milliseconds the last requests waited for their store, at the median; 0 if none was recorded."""
    times = testbed.folder / STORE_TIMES
    if not times.exists():
        return 0.0
    return statistics.median(1000 * float(line) for line in times.read_text().split()[-requests:])


async def soak(testbed: Testbed, events: int) -> tuple[list[float], float]:
    """Return the worker's MiB after each fifth, and the events per second of the whole run."""
    async with testbed, Answers(testbed) as answers:
        worker = await testbed.start_worker()
        await worker.wait_until_ready()
        sizes, start = [], time.monotonic()
        for fifth in range(5):
            batch = segment_events(f"{testbed.name}-{fifth}", events // 5, 64)
            await testbed.emit(*batch)
            await answers.wait_for((fifth + 1) * len(batch), worker, 900)
            await asyncio.sleep(2)
            sizes.append(worker.memory())
        return sizes, events / (time.monotonic() - start)


async def measure(cluster: Cluster, folder: Path, options: argparse.Namespace) -> Figures:
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(options.rounds):
        for kind in KINDS:
            events = options.events // 4 if kind == "minio" else options.events
            rates[kind].append(await rate(make_testbed(cluster, folder, kind, f"rate-{turn}"), events))
        print_line(f"round {turn + 1}: " + ", ".join(f"{kind} {rates[kind][-1]:,.0f}/s" for kind in KINDS))
    linger = read_settings({}).device.linger
    lingering = {"CREATIVES_DEVICE__LINGER": str(linger)}
    delays: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "lingering", "store")}
    for turn in range(options.rounds):
        for kind in KINDS:
            delay, store_delay = await latency(make_testbed(cluster, folder, kind, f"delay-{turn}"))
            delays[kind].append(delay)
            if store_delay:
                delays["store"].append(store_delay)
        delay, _ = await latency(make_testbed(cluster, folder, "memory", f"lingering-{turn}", **lingering))
        delays["lingering"].append(delay)
        print_line(f"round {turn + 1}: " + ", ".join(f"{kind} {found[-1]:.1f} ms" for kind, found in delays.items()))
    sizes: list[float] = []
    soak_rate = 0.0
    if options.soak:
        sizes, soak_rate = await soak(make_testbed(cluster, folder, "memory", "soak"), options.soak)
    medians = {kind: statistics.median(found) for kind, found in delays.items()}
    return Figures(
        events=options.events,
        rounds=options.rounds,
        soak=options.soak,
        rates={kind: statistics.median(found) for kind, found in rates.items()},
        delays={kind: medians[kind] for kind in KINDS},
        store=medians["store"],
        linger=linger,
        lingering=medians["lingering"],
        sizes=sizes,
        soak_rate=soak_rate,
        settings=changed_settings(),
    )


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--soak", type=int, default=50_000, help="events; 0 skips the soak, and the limit on memory counts as not held"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="throughput-"))
    print_line(f"{describe_machine()}; logs in {folder}")
    cluster = Cluster.plan(folder / "services", 1)
    try:
        await asyncio.to_thread(cluster.up)
        figures = await measure(cluster, folder, options)
    finally:
        await asyncio.to_thread(cluster.down)
    broken = write(figures, options.page)
    for limit, measured, ok in limits(figures):
        print_line(f"{'held    ' if ok else 'NOT HELD'}  {limit}: {measured}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
