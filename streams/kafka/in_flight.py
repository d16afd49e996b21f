"""Every event between its arrival and its ack: entered in the ledger, settled, then acked in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from schemas.events import Source
from streams.failures import Unsettled
from streams.kafka.delivery import Attempt, Delivery, Settlement
from streams.kafka.ledger import Ledger, LedgerEntry, Partition
from streams.kafka.record_batches import Unreadable
from streams.kafka.record_format import NO_TIMESTAMP
from streams.messages import RawEvent

if TYPE_CHECKING:
    from faust.types import EventT
    from faust.types.tuples import Message

log = structlog.get_logger(__name__)


def raw_event(message: Message) -> RawEvent:
    """Return the message as it came from Kafka: bytes, headers in order, repeated names kept."""
    timestamp = NO_TIMESTAMP if message.timestamp is None else round(message.timestamp * 1000)
    return RawEvent(
        source=Source(topic=message.topic, partition=message.partition, offset=message.offset),
        key=message.key,
        value=message.value,
        headers=tuple((name, value or b"") for name, value in (message.headers or ())),
        timestamp=None if timestamp == NO_TIMESTAMP else timestamp,
        unreadable=message.value.reason if isinstance(message.value, Unreadable) else None,
    )


@dataclass
class _RunningEvent:
    """An event that is being settled. entry: its newest delivery, the one to ack."""

    task: asyncio.Task[Settlement]
    entry: LedgerEntry


class InFlightEvents:
    """The events of one agent between arrival and ack.

    concurrency: how many events are attempted at the same time. stop_worker: called if an event can never be acked,
    because it would block its partition.
    """

    def __init__(
        self, ledger: Ledger, delivery: Delivery, concurrency: int, stop_worker: Callable[[Exception], None]
    ) -> None:
        self.ledger = ledger
        self._delivery = delivery
        self._stop_worker = stop_worker
        self._turns = asyncio.Semaphore(concurrency)
        self._running: dict[tuple[Partition, int], _RunningEvent] = {}
        self._draining = False

    async def accept(self, event: EventT, attempt: Attempt) -> None:
        """Enter the event in the ledger and start settling it. Waits while its partition's window is full.

        A rebalance may deliver an event again while its first delivery still runs. The new delivery then joins the
        running event, so no work is done twice.
        """
        raw = raw_event(event.message)
        partition = Partition(raw.source.topic, raw.source.partition)
        entry = await self.ledger.enter(partition, raw.source.offset, event.ack)
        if entry.stale or self._draining:
            return
        key = (partition, raw.source.offset)
        running = self._running.get(key)
        if running is not None and not running.task.cancelling():
            running.entry = entry
            return
        name = f"{partition.topic}[{partition.number}]@{raw.source.offset}"
        started = _RunningEvent(asyncio.create_task(self._delivery.settle(raw, attempt, self._turns), name=name), entry)
        self._running[key] = started
        started.task.add_done_callback(lambda _: self._on_task_end(key, started))

    def revoke(self, partitions: Collection[Partition]) -> None:
        """Forget the acks of these partitions. Their events go on until `keep_only` is called after the rebalance."""
        self.ledger.revoke(partitions)

    def keep_only(self, owned: Collection[Partition]) -> None:
        """Cancel the events of all partitions that are not in `owned`: another worker has them now."""
        kept = set(owned)
        for (partition, offset), running in list(self._running.items()):
            if partition not in kept:
                log.info("event cancelled: its partition moved", topic=partition.topic, offset=offset)
                running.task.cancel()

    async def drain(self, seconds: float) -> None:
        """Accept nothing more. Finish the running events within `seconds`, and leave the rest unacked."""
        self._draining = True
        tasks = [running.task for running in self._running.values()]
        if not tasks:
            return
        log.info("draining", events=len(tasks), seconds=seconds)
        _, unfinished = await asyncio.wait(tasks, timeout=seconds)
        for task in unfinished:
            task.cancel()
        if unfinished:
            log.warning("left unacked for the next owner", events=len(unfinished))
            await asyncio.wait(unfinished, timeout=5.0)

    @property
    def running(self) -> int:
        """Return how many events are being settled."""
        return len(self._running)

    @property
    def oldest_seconds(self) -> float:
        """Return the age of the oldest unfinished event, which may wait for its next attempt; 0 without any."""
        oldest = self.ledger.oldest_entered_at()
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    def _on_task_end(self, key: tuple[Partition, int], event: _RunningEvent) -> None:
        """Ack a settled event. Stop the worker if the event ended otherwise and no rebalance or drain explains it."""
        if self._running.get(key) is event:
            del self._running[key]
        task = event.task
        failure = None if task.cancelled() else task.exception()
        settlement = None if task.cancelled() or failure else task.result()
        if settlement is not None and settlement.terminal:
            self.ledger.finish(event.entry)
        elif failure or not (task.cancelling() or event.entry.stale or self._draining):
            detail = repr(failure) if failure else settlement.value if settlement else "cancelled unexpectedly"
            partition, offset = key
            self._stop_worker(
                Unsettled(topic=partition.topic, partition=partition.number, offset=offset, detail=detail)
            )
