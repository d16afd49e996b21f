"""Reads fetched record batches so that nothing an emitter sends can stop the consumer.

aiokafka unpacks batches while the consumer polls. An error there (an unknown codec, a failed checksum, a header
name that is not UTF-8) ends the poll, and the next poll fails at the same offset. `install` replaces the two classes
that unpack. A record or batch that cannot be read arrives as one record whose value is an `Unreadable`: its raw bytes
and the reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.structs import ConsumerRecord

from streams.kafka import record_format
from streams.kafka.record_format import NO_TIMESTAMP, Batch, Record

log = structlog.get_logger(__name__)

_FETCH_BYTES = 16 * 2**20  # read and inflated from one fetch; the rest is fetched again
_OBJECT_BYTES = 100  # what a record or a header takes besides its bytes, about


class Unreadable(bytes):
    """The raw bytes of a record or batch that cannot be read. reason: one line that names the offsets and the cause."""

    reason: str

    @classmethod
    def of(cls, raw: bytes, first: int, last: int, error: Exception) -> Unreadable:
        """Return the bytes with the reason."""
        offsets = f"offset {first}" if first == last else f"offsets {first} to {last}"
        unreadable = cls(raw)
        text = " ".join(str(error).split())[:200]
        unreadable.reason = f"{offsets} cannot be read ({type(error).__name__}{': ' if text else ''}{text})"
        return unreadable


class RawBatches:
    """The batches of a fetch, not parsed yet. Stands in for aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self.batches = record_format.split(bytes(data))

    def has_next(self) -> bool:
        """Return whether the fetch holds a complete batch."""
        return bool(self.batches)

    def size_in_bytes(self) -> int:
        """Return the size of the fetch."""
        return self._size


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's iterator over the records of one partition's fetch. It raises nothing and yields ascending offsets.

    It ends early once it has read and inflated `_FETCH_BYTES`, whatever came of them: small batches may inflate to a
    lot and hold nothing that can be read. aiokafka then fetches the rest again, and the event loop runs in between.
    """

    _records: RawBatches
    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[ConsumerRecord]:
        taken = 0  # besides what was inflated
        self._inflated = record_format.InflatedBytes()
        for raw, limit in _with_limits(self._records.batches):
            for record in self._batch_records(raw, limit):
                self.next_fetch_offset = record.offset + 1
                taken += _OBJECT_BYTES * (1 + len(record.headers))
                yield record
            taken += len(raw)
            if taken + self._inflated.total >= _FETCH_BYTES:
                return

    def _batch_records(self, raw: bytes, limit: int | None) -> Iterator[ConsumerRecord]:
        """Yield the records of one batch from `next_fetch_offset` on, and one `Unreadable` for all that cannot be read.

        limit: the first offset of the next batch, None if the fetch holds none.
        """
        last = self._last_without_header(raw, limit)
        try:
            batch = record_format.read_batch(raw)
            last = batch.last
            if not self._is_skipped(raw, batch):
                for record in record_format.read_records(raw, batch, self._inflated):
                    if record.offset >= self.next_fetch_offset:
                        yield self._consumer_record(self._tp, record)
        except Exception as error:  # noqa: BLE001 - the boundary: codecs raise whatever they like
            first = max(self.next_fetch_offset, min(_base(raw), last))
            place = {"topic": self._tp.topic, "partition": self._tp.partition, "first": first, "last": last}
            log.warning("batch cannot be read", **place, error=repr(error)[:200])
            if first <= last:
                yield self._unreadable(raw, first, last, error)
        self.next_fetch_offset = max(self.next_fetch_offset, last + 1)

    def _last_without_header(self, raw: bytes, limit: int | None) -> int:
        """Return the last offset of a batch in case its header cannot be trusted: never one of another batch."""
        stated = record_format.stated_last(raw)
        if limit is not None:
            return stated if stated is not None and stated < limit else limit - 1
        return max(self.next_fetch_offset, _base(raw) if stated is None else stated)

    def _is_skipped(self, raw: bytes, batch: Batch) -> bool:
        """Return whether the batch holds no events: a marker, or records of an aborted transaction.

        The same steps as in aiokafka's own `_unpack_records`.
        """
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_up_to(batch.base)
            if batch.control and self._is_abort(raw, batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.transactional and not batch.control and batch.producer_id in self._aborted_producers:
                return True
        return batch.control

    def _is_abort(self, raw: bytes, batch: Batch) -> bool:
        marker: Any = next(record_format.read_records(raw, batch, self._inflated), None)
        return marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER

    def _unreadable(self, raw: bytes, first: int, last: int, error: Exception) -> ConsumerRecord:
        value = Unreadable.of(raw, first, last, error)
        return self._consumer_record(self._tp, Record(last, NO_TIMESTAMP, None, None, value))


def install() -> None:
    """Let every aiokafka consumer of this process read batches this way."""
    fetcher.MemoryRecords = RawBatches
    fetcher.PartitionRecords = PartitionRecords


def _with_limits(batches: list[bytes]) -> Iterator[tuple[bytes, int | None]]:
    """Yield each batch with the first offset of the next one: a damaged header must not skip events behind it."""
    for raw, following in pairwise(batches):
        yield raw, _base(following)
    yield from ((raw, None) for raw in batches[-1:])


def _base(raw: bytes) -> int:
    """Return the first offset that the broker wrote into a batch; in formats 0 and 1 the last."""
    base: int
    (base,) = struct.unpack_from(">q", raw)
    return base
