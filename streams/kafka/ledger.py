"""In-order acknowledgement: the ledger acks only the completed prefix of a partition.

Faust commits past unfinished events if events are acked out of order. So the events of a partition enter the ledger in
offset order, finish in any order, and are acked in offset order. If a partition is revoked, the ledger drops its
entries. An event that finishes later acks nothing, because the partition's next owner gets the same event again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple


class Partition(NamedTuple):
    """A partition of a topic. It equals, and hashes like, the pairs that Kafka clients use."""

    topic: str
    number: int


@dataclass(eq=False)
class LedgerEntry:
    """One event between its arrival and its ack.

    ack: called at most once, on the event loop. entered_at: event loop time. stale: never to be acked.
    """

    partition: Partition
    offset: int
    ack: Callable[[], object]
    entered_at: float
    done: bool = False
    stale: bool = False


@dataclass
class _PartitionQueue:
    """The unacked entries of one partition, oldest first."""

    entries: deque[LedgerEntry] = field(default_factory=deque)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    revoked: bool = False


class Ledger:
    """The unacked events of every assigned partition. window: the most unacked events of one partition."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._queues: dict[Partition, _PartitionQueue] = {}

    async def enter(self, partition: Partition, offset: int, ack: Callable[[], object]) -> LedgerEntry:
        """Wait for room in the partition's window, then enter the event.

        The entry is stale if the partition was revoked during the wait. An offset at or below the last one entered
        means that the partition was lost and came back. All its earlier entries become stale then, because Kafka
        delivers them again.
        """
        entry = LedgerEntry(partition, offset, ack, asyncio.get_running_loop().time())
        queue = self._queues.setdefault(partition, _PartitionQueue())
        while len(queue.entries) >= self._window and not queue.revoked:
            queue.room.clear()
            await queue.room.wait()
        if queue.revoked:
            entry.stale = True
            return entry
        if queue.entries and offset <= queue.entries[-1].offset:
            self.revoke([partition])
            queue = self._queues.setdefault(partition, _PartitionQueue())
        queue.entries.append(entry)
        return entry

    def finish(self, entry: LedgerEntry) -> int:
        """Mark the event as done and ack the completed prefix of its partition. Return how many events were acked."""
        entry.done = True
        if entry.stale:
            return 0
        queue = self._queues[entry.partition]
        acked = 0
        while queue.entries and queue.entries[0].done:
            queue.entries.popleft().ack()
            acked += 1
        if acked:
            queue.room.set()
        return acked

    def revoke(self, partitions: Collection[Partition]) -> None:
        """Drop the entries of these partitions without acking them."""
        for partition in partitions:
            queue = self._queues.pop(partition, None)
            if queue is None:
                continue
            queue.revoked = True
            for entry in queue.entries:
                entry.stale = True
            queue.room.set()

    def unacked(self, partition: Partition | None = None) -> int:
        """Return the number of unacked events, of one partition or of all."""
        queues = self._queues.values() if partition is None else [self._queues.get(partition, _PartitionQueue())]
        return sum(len(queue.entries) for queue in queues)

    def oldest_entered_at(self) -> float | None:
        """Return when the oldest unfinished event was entered, None if there is none."""
        entries = (entry for queue in self._queues.values() for entry in queue.entries)
        return min((entry.entered_at for entry in entries if not entry.done), default=None)
