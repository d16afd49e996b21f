"""Every event between its arrival and its ack: entered in the ledger, being settled, then acked in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from schemas.events import Source
from streams.failures import Unsettled
from streams.kafka.delivery import Attempt, Delivery, Settled
from streams.kafka.ledger import Ledger, LedgerEntry, Partition
from streams.kafka.record_batches import Unreadable
from streams.messages import RawEvent

if TYPE_CHECKING:
    from faust.types import EventT
    from faust.types.tuples import Message

log = structlog.get_logger(__name__)


def raw_event(message: Message) -> RawEvent:
    """Return the message as it came from Kafka: bytes, headers in order, repeated names kept."""
    return RawEvent(
        source=Source(topic=message.topic, partition=message.partition, offset=message.offset),
        key=message.key,
        value=message.value,
        headers=tuple((name, value or b"") for name, value in (message.headers or ())),
        timestamp=round(message.timestamp * 1000) if message.timestamp is not None else None,
        unreadable=message.value.reason if isinstance(message.value, Unreadable) else None,
    )


@dataclass
class _Job:
    """An event being settled. entry: its newest delivery, the one to ack."""

    task: asyncio.Task[Settled]
    entry: LedgerEntry


class InFlightEvents:
    """Every event between its arrival and its ack.

    concurrency: events worked on at once. die: told when an event can never be acked, which would wedge its partition.
    """

    def __init__(self, ledger: Ledger, delivery: Delivery, concurrency: int, die: Callable[[Exception], None]) -> None:
        self.ledger = ledger
        self._delivery = delivery
        self._die = die
        self._turn = asyncio.Semaphore(concurrency)
        self._jobs: dict[tuple[Partition, int], _Job] = {}
        self._closed = False

    async def take(self, event: EventT, attempt: Attempt) -> None:
        """Enter the event in the ledger and start settling it; wait while its partition's window is full.

        An event that is delivered again while its first delivery still runs (a rebalance gave the partition back)
        joins the running job: no work is done twice.
        """
        raw = raw_event(event.message)
        partition = Partition(raw.source.topic, raw.source.partition)
        entry = await self.ledger.enter(partition, raw.source.offset, event.ack)
        if entry.stale or self._closed:
            return
        place = (partition, raw.source.offset)
        running = self._jobs.get(place)
        if running is not None and not running.task.cancelling():
            running.entry = entry
            return
        name = f"{partition.topic}[{partition.number}]@{raw.source.offset}"
        job = _Job(asyncio.create_task(self._settle(raw, attempt), name=name), entry)
        self._jobs[place] = job
        job.task.add_done_callback(lambda _: self._concluded(place, job))

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Forget the acks these partitions owe; their jobs go on until we know who owns the partitions next."""
        self.ledger.revoke(partitions)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Give up the jobs of partitions that another worker owns now."""
        kept = set(partitions)
        for (partition, offset), job in list(self._jobs.items()):
            if partition not in kept:
                log.info("job given up: its partition moved", topic=partition.topic, offset=offset)
                job.task.cancel()

    async def drain(self, seconds: float) -> None:
        """Take nothing more; finish what runs within `seconds`, leave the rest unacked."""
        self._closed = True
        tasks = [job.task for job in self._jobs.values()]
        if not tasks:
            return
        log.info("draining", jobs=len(tasks), seconds=seconds)
        _, unfinished = await asyncio.wait(tasks, timeout=seconds)
        for task in unfinished:
            task.cancel()
        if unfinished:
            log.warning("left unacked for the next owner", jobs=len(unfinished))
            await asyncio.wait(unfinished, timeout=5.0)

    @property
    def running(self) -> int:
        """Return how many events are being settled."""
        return len(self._jobs)

    @property
    def oldest_seconds(self) -> float:
        """Return the age of the oldest unfinished event, one that waits for its next attempt too; 0 without any."""
        oldest = self.ledger.oldest()
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    async def _settle(self, raw: RawEvent, attempt: Attempt) -> Settled:
        async with self._turn:
            return await self._delivery.settle(raw, attempt)

    def _concluded(self, place: tuple[Partition, int], job: _Job) -> None:
        if self._jobs.get(place) is job:
            del self._jobs[place]
        task = job.task
        failure = None if task.cancelled() else task.exception()
        settled = None if task.cancelled() or failure else task.result()
        if settled is not None and settled.terminal:
            self.ledger.finish(job.entry)
        elif failure or not (task.cancelling() or job.entry.stale or self._closed):
            # Nobody gave this job up: left unacked, it would hold its partition for ever without a word.
            detail = repr(failure) if failure else settled.value if settled else "cancelled by nobody of us"
            partition, offset = place
            self._die(Unsettled(topic=partition.topic, partition=partition.number, offset=offset, detail=detail))
