"""Reads fetched record batches so that nothing an emitter sends can stop the consumer.

aiokafka unpacks batches while the consumer polls. An error there (an unknown codec, a failed checksum, a header
name that is not UTF-8) ends the poll, and the next poll fails at the same offset. `install` replaces the two
classes that unpack. They read a record with an invalid header name like any other. A record or batch that cannot be
read arrives as one record whose value is an `Unreadable`: its raw bytes and the reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from streams.kafka.inflation import TooLarge, check_inflated_size

log = structlog.get_logger(__name__)

MAX_INFLATED_BYTES = 32 * 2**20  # of one batch; brokers limit the compressed size, usually to 1 MiB
_LENGTH_AT, _MAGIC_AT, _ATTRIBUTES_AT, _LAST_DELTA_AT, _RECORDS_AT = 8, 16, 21, 23, 61
_LEGACY_ATTRIBUTES_AT, _LEGACY_KEY_AT = 17, {0: 18, 1: 26}
_OVERHEAD = 12  # base offset and length, before the bytes that the length counts
_NEWEST_MAGIC = 2
_CODEC_MASK = 7
_MAX_OFFSETS = 1_000_000  # of one batch; a header with a larger number is damaged


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
    """Splits fetched bytes into batches without parsing them, unlike aiokafka's `MemoryRecords`.

    A fetch may end in the middle of a batch; that rest is left out, as in aiokafka.
    """

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self.batches = list(self._split())

    def has_next(self) -> bool:
        """Return whether the bytes hold a whole batch."""
        return bool(self.batches)

    def size_in_bytes(self) -> int:
        """Return how many bytes were fetched."""
        return len(self._data)

    def _split(self) -> Iterator[bytes]:
        position = 0
        while position + _OVERHEAD <= len(self._data):
            (length,) = struct.unpack_from(">i", self._data, position + _LENGTH_AT)
            end = position + _OVERHEAD + length
            if length < 0 or end > len(self._data):
                return
            yield self._data[position:end]
            position = end


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's iterator over the records of one partition's fetch, which never raises."""

    _records: Any
    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[ConsumerRecord]:
        for raw in self._records.batches:
            position = self.next_fetch_offset
            first, last = _offsets(raw)
            try:
                _check(raw)
                self._records = MemoryRecords(raw)
                for record in super()._unpack_records():
                    if not position <= record.offset <= last:
                        raise CorruptRecordException(f"record {record.offset} lies outside its batch")  # noqa: TRY301
                    position = record.offset + 1
                    yield record
            except Exception as error:  # noqa: BLE001 - a boundary: parser and codecs may raise anything
                for record in self._salvage(raw, max(first, position), last, error):
                    self.next_fetch_offset = record.offset + 1
                    yield record
            self.next_fetch_offset = max(position, last + 1)

    def _salvage(self, raw: bytes, first: int, last: int, error: Exception) -> Iterator[ConsumerRecord]:
        """Yield the rest of a batch, from offset `first` on: its records if they can be read, else one `Unreadable`."""
        if isinstance(error, UnicodeDecodeError):  # only header names are invalid
            try:
                rest = [self._consumer_record(self._tp, record) for record in _LenientBatch(raw)]
            except Exception as worse:  # noqa: BLE001 - the same boundary
                error = worse
            else:
                yield from (record for record in rest if first <= record.offset <= last)
                return
        place = {"topic": self._tp.topic, "partition": self._tp.partition, "first": first, "last": last}
        log.warning("batch cannot be read", **place, error=repr(error)[:200])
        if first <= last:
            yield self._unreadable(raw, first, last, error)

    def _unreadable(self, raw: bytes, first: int, last: int, error: Exception) -> ConsumerRecord:
        value = Unreadable.of(raw, first, last, error)
        return ConsumerRecord(self._tp.topic, self._tp.partition, last, None, None, None, value, None, -1, len(raw), ())


def install() -> None:
    """Make every aiokafka consumer of this process use `RawBatches` and `PartitionRecords`."""
    fetcher.MemoryRecords = RawBatches
    fetcher.PartitionRecords = PartitionRecords


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """aiokafka's pure Python batch, whose header names may hold any bytes."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """Bytes that decode to replacement characters instead of raising."""

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        return _LenientBytes(part) if isinstance(key, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """Decode; `errors` defaults to `replace`."""
        return super().decode(encoding, errors)


def _check(raw: bytes) -> None:
    """Raise CorruptRecordException or TooLarge for a batch that must not be handed to aiokafka."""
    magic = raw[_MAGIC_AT] if len(raw) > _MAGIC_AT else -1
    if not 0 <= magic <= _NEWEST_MAGIC or len(raw) < (_RECORDS_AT if magic == _NEWEST_MAGIC else _LEGACY_KEY_AT[magic]):
        raise CorruptRecordException(f"record format {magic} is unknown or the batch is cut short")
    if magic == _NEWEST_MAGIC and not 0 <= _last_delta(raw) < _MAX_OFFSETS:
        raise CorruptRecordException(f"the batch claims {_last_delta(raw) + 1} offsets")
    codec, data = _compressed_part(raw, magic)
    try:
        if codec:
            check_inflated_size(codec, data, MAX_INFLATED_BYTES)
    except TooLarge:
        message = f"the batch inflates to more than {MAX_INFLATED_BYTES} bytes"
        raise CorruptRecordException(message) from None


def _compressed_part(raw: bytes, magic: int) -> tuple[int, bytes]:
    """Return the codec's number (0: none) and the bytes it compressed."""
    if magic == _NEWEST_MAGIC:
        (attributes,) = struct.unpack_from(">h", raw, _ATTRIBUTES_AT)
        return attributes & _CODEC_MASK, raw[_RECORDS_AT:]
    codec = raw[_LEGACY_ATTRIBUTES_AT] & _CODEC_MASK
    if not codec:
        return 0, b""
    (key,) = struct.unpack_from(">i", raw, _LEGACY_KEY_AT[magic])
    value_at = _LEGACY_KEY_AT[magic] + 4 + max(0, key)
    (value,) = struct.unpack_from(">i", raw, value_at)
    return codec, raw[value_at + 4 : value_at + 4 + max(0, value)]


def _offsets(raw: bytes) -> tuple[int, int]:
    """Return the first and the last offset of a batch, the first twice if the header names no valid last one."""
    (base,) = struct.unpack_from(">q", raw, 0)
    if len(raw) < _LAST_DELTA_AT + 4 or raw[_MAGIC_AT] < _NEWEST_MAGIC:
        return base, base
    delta = _last_delta(raw)
    return base, base + (delta if 0 <= delta < _MAX_OFFSETS else 0)


def _last_delta(raw: bytes) -> int:
    (delta,) = struct.unpack_from(">i", raw, _LAST_DELTA_AT)
    return int(delta)
