"""What the machinery costs: events per second, added latency and memory of a worker whose studio does nothing.

    python -m benchmarks.throughput [--events 10000] [--rounds 5] [--soak 50000] [--page docs/throughput.md]

Writes the page (benchmarks/figures.py); exit code 1 when a limit is not held.
On a real Kafka and MinIO of its own (scripts/services). Contenders take turns, so that a busy machine harms all alike:
bare aiokafka, a stock Faust agent, this service with an in-memory store, and with MinIO (benchmarks/machinery.py).
Rates are read from the timestamps of the published records, from the first to the last; medians over the rounds.
Latency is from producing an event to reading its answer, at 40 events/s, without the lane's linger and once with it.
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
from tests.faults.ground import Ground, flow
from tests.faults.pace import read_settings
from tests.faults.processes import Worker
from tests.faults.rows import machine

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


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def ground(cluster: Cluster, folder: Path, kind: str, name: str, **more: str) -> Ground:
    return Ground(cluster, f"{name}-{kind}", folder, WIDE | more, ("benchmarks.machinery", kind))


def settings() -> list[tuple[str, str, str]]:
    """Return the settings of WIDE: name, value here, default."""
    default = read_settings({})
    names = [name for name in WIDE if name.startswith("CREATIVES_")]
    parts = [name.removeprefix("CREATIVES_").lower().split("__") for name in names]
    return [
        (f"`{name}`", WIDE[name], f"{getattr(getattr(default, group), field):g}")
        for name, (group, field) in zip(names, parts, strict=True)
    ]


class Answers:
    """The topic of answers as a reader sees it."""

    def __init__(self, place: Ground) -> None:
        topics = place.settings.topics
        self.partitions = [TopicPartition(topics.creative_ready, number) for number in range(topics.partitions)]
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=place.cluster.bootstrap_servers, group_id=None, auto_offset_reset="earliest",
            fetch_max_wait_ms=5000, fetch_min_bytes=1, max_partition_fetch_bytes=2**23,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        await self.consumer.start()
        self.consumer.assign(self.partitions)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.consumer.stop()

    async def count(self) -> int:
        """Return how many there are, without reading them."""
        return sum((await self.consumer.end_offsets(self.partitions)).values())

    async def reach(self, count: int, worker: Worker, seconds: float = 300) -> None:
        """Wait until there are `count`."""
        async with asyncio.timeout(seconds):
            while True:
                if await self.count() >= count:
                    return
                if worker.exits:
                    raise RuntimeError(f"the worker ended; see {worker.log}")
                await asyncio.sleep(0.3)

    async def times(self, count: int) -> list[float]:
        """Return the publishing times in seconds, in order."""
        await self.consumer.seek_to_beginning()
        found: list[float] = []
        while len(found) < count:
            batches = await self.consumer.getmany(timeout_ms=1000)
            found += [record.timestamp / 1000 for records in batches.values() for record in records]
        return sorted(found)


async def rate(place: Ground, events: int) -> float:
    """Return events per second of one worker over a backlog; the first tenth is warm-up."""
    async with place, Answers(place) as answers:
        await place.emit(*flow(place.name, events, 64))
        worker = await place.worker()
        await answers.reach(events, worker)
        times = (await answers.times(events))[events // 10 :]
        return (len(times) - 1) / max(times[-1] - times[0], 1e-3)


async def latency(place: Ground, events: int = 200, per_second: float = 40) -> tuple[float, float]:
    """Return the median milliseconds from producing an event to reading its answer, and the store's own of them."""
    async with place, Answers(place) as answers:
        started: dict[str, float] = {}
        taken: list[float] = []
        worker = await place.worker()
        await place.emit(*flow(f"{place.name}-warm", 20))
        await answers.reach(20, worker)

        async def read() -> None:
            while len(taken) < events:
                record = await answers.consumer.getone()
                event_id = json.loads(record.value)["event_id"]
                if event_id in started:
                    taken.append(1000 * (time.perf_counter() - started[event_id]))

        reading = asyncio.create_task(read())
        for event in flow(place.name, events):
            started[str(event["event_id"])] = time.perf_counter()
            await place.emit(event)
            await asyncio.sleep(1 / per_second)
        await asyncio.wait_for(reading, 30)
        return statistics.median(taken), store_time(place, events)


def store_time(place: Ground, requests: int) -> float:
    """Return the median milliseconds for which the last requests waited for their store; 0 where none was noted."""
    times = place.folder / STORE_TIMES
    if not times.exists():
        return 0.0
    return statistics.median(1000 * float(line) for line in times.read_text().split()[-requests:])


async def soak(place: Ground, events: int) -> tuple[list[float], float]:
    """Return the worker's MiB after each fifth, and the whole run's events per second."""
    async with place, Answers(place) as answers:
        worker = await place.worker()
        await worker.ready()
        sizes, start = [], time.monotonic()
        for fifth in range(5):
            batch = [
                event | {"event_id": f"{event['event_id']}-{fifth}"} for event in flow(place.name, events // 5, 64)
            ]
            await place.emit(*batch)
            await answers.reach((fifth + 1) * len(batch), worker, 900)
            await asyncio.sleep(2)
            sizes.append(worker.memory())
        return sizes, events / (time.monotonic() - start)


async def measure(cluster: Cluster, folder: Path, given: argparse.Namespace) -> Figures:
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(given.rounds):
        for kind in KINDS:
            events = given.events // 4 if kind == "minio" else given.events
            rates[kind].append(await rate(ground(cluster, folder, kind, f"rate-{turn}"), events))
        say(f"round {turn + 1}: " + ", ".join(f"{kind} {rates[kind][-1]:,.0f}/s" for kind in KINDS))
    linger = read_settings({}).device.linger
    lingering = {"CREATIVES_DEVICE__LINGER": str(linger)}
    delays: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "lingering", "store")}
    for turn in range(given.rounds):
        for kind in KINDS:
            late, own = await latency(ground(cluster, folder, kind, f"delay-{turn}"))
            delays[kind].append(late)
            if own:
                delays["store"].append(own)
        late, _ = await latency(ground(cluster, folder, "memory", f"lingering-{turn}", **lingering))
        delays["lingering"].append(late)
        say(f"round {turn + 1}: " + ", ".join(f"{kind} {found[-1]:.1f} ms" for kind, found in delays.items()))
    sizes, whole = await soak(ground(cluster, folder, "memory", "soak"), given.soak) if given.soak else ([], 0.0)
    typical = {kind: statistics.median(found) for kind, found in delays.items()}
    return Figures(
        events=given.events,
        rounds=given.rounds,
        soak=given.soak,
        rates={kind: statistics.median(found) for kind, found in rates.items()},
        delays={kind: typical[kind] for kind in KINDS},
        store=typical["store"],
        linger=linger,
        lingering=typical["lingering"],
        sizes=sizes,
        soak_rate=whole,
        settings=settings(),
    )


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak", type=int, default=50_000, help="events; 0: no soak, and its limit is not held")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="throughput-"))
    say(f"{machine()}; logs in {folder}")
    cluster = Cluster.plan(folder / "services", 1)
    try:
        await asyncio.to_thread(cluster.up)
        figures = await measure(cluster, folder, given)
    finally:
        await asyncio.to_thread(cluster.down)
    broken = write(figures, given.page)
    for what, said, ok in limits(figures):
        say(f"{'held    ' if ok else 'NOT HELD'}  {what}: {said}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
