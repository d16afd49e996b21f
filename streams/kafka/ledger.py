"""In-order acknowledgement: only the completed prefix of a partition is ever acked.

Faust commits past unfinished events when they are acked out of order, so it must never see that happen.
Events of a partition are entered in offset order, finish in any order, and are acked in offset order.
A revoked partition drops its entries: a late finish of theirs acks nothing, since the next owner has
been given the same events again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple


class Partition(NamedTuple):
    """A topic's partition; equal to (and hashing as) Kafka clients' own pair."""

    topic: str
    number: int


@dataclass(eq=False)
class LedgerEntry:
    """One event between its arrival and its ack. `ack` is called at most once, on the event loop."""

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
    """The unacked events of every assigned partition. window: how many of one partition there may be."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._queues: dict[Partition, _PartitionQueue] = {}

    async def enter(self, partition: Partition, offset: int, ack: Callable[[], object]) -> LedgerEntry:
        """Wait for room in the partition's window, then enter the event.

        The entry comes back stale when the partition was revoked while we waited. An offset at or below the last
        one entered means that the partition came back to us: what was entered before is stale then, since it is
        all delivered again.
        """
        entry = LedgerEntry(partition, offset, ack, asyncio.get_running_loop().time())
        line = self._queues.setdefault(partition, _PartitionQueue())
        while len(line.entries) >= self._window and not line.revoked:
            line.room.clear()
            await line.room.wait()
        if line.revoked:
            entry.stale = True
            return entry
        if line.entries and offset <= line.entries[-1].offset:
            self.revoke([partition])
            line = self._queues.setdefault(partition, _PartitionQueue())
        line.entries.append(entry)
        return entry

    def finish(self, entry: LedgerEntry) -> int:
        """Mark the event as done and ack the completed prefix of its partition. Returns how many were acked."""
        entry.done = True
        if entry.stale:
            return 0
        line = self._queues[entry.partition]
        acked = 0
        while line.entries and line.entries[0].done:
            line.entries.popleft().ack()
            acked += 1
        if acked:
            line.room.set()
        return acked

    def revoke(self, partitions: Collection[Partition]) -> None:
        """Drop the entries of these partitions: nothing of theirs will be acked any more."""
        for partition in partitions:
            line = self._queues.pop(partition, None)
            if line is None:
                continue
            line.revoked = True
            for entry in line.entries:
                entry.stale = True
            line.room.set()

    def unacked(self, partition: Partition | None = None) -> int:
        """Return how many events are unacked, of one partition or of all."""
        lines = self._queues.values() if partition is None else [self._queues.get(partition, _PartitionQueue())]
        return sum(len(line.entries) for line in lines)

    def oldest(self) -> float | None:
        """Return when the oldest unfinished event was entered (event loop time), None if there is none."""
        entries = (entry for line in self._queues.values() for entry in line.entries)
        return min((entry.entered_at for entry in entries if not entry.done), default=None)
