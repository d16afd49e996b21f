"""Kafka's record batches, parsed with every length checked against the bytes that are there.

https://kafka.apache.org/documentation/#recordbatch describes format 2, and #messageset the formats 0 and 1. aiokafka's
own parsers trust lengths in places: a crafted batch made them read beyond their buffer and crash the process.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import calc_crc32c

from streams.kafka.inflation import TooLarge, inflate

MAX_INFLATED_BYTES = 8 * 2**20  # of one batch; brokers limit the compressed size, usually to 1 MiB
MAX_HEADERS = 200  # of one record: a poll takes 500 records, and each header is parsed on the event loop
MAX_OFFSETS = 1_000_000  # of one batch

_PREFIX = struct.Struct(">qi")  # base offset, and the length of what follows
_HEADER = struct.Struct(">qiibIhiqqqhii")
_MAGIC_AT, _CHECKSUM_FROM, _CURRENT = 16, 21, 2
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 7, 8, 16, 32
_LEGACY_PAYLOAD = {0: 18, 1: 26}  # where the key's length stands in formats 0 and 1
_MAX_VARINT_BYTES = 10
NO_TIMESTAMP = -1


class Record(NamedTuple):
    """One record. timestamp: milliseconds since 1970, or NO_TIMESTAMP.

    timestamp_type: 0 by the producer, 1 by the broker, None without one.
    """

    offset: int
    timestamp: int
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    checksum: None = None


@dataclass
class InflatedBytes:
    """Counts what reading batches inflates, whatever comes of it. A batch that fails counts as MAX_INFLATED_BYTES."""

    total: int = 0

    def inflate(self, codec: int, data: bytes) -> bytes:
        """Return the inflated bytes. Raises CorruptRecordException if they are too many, and what the codec raises."""
        if not codec:
            return data
        self.total += MAX_INFLATED_BYTES
        try:
            inflated = inflate(codec, data, MAX_INFLATED_BYTES)
        except TooLarge:
            message = f"the batch inflates to more than {MAX_INFLATED_BYTES} bytes"
            raise CorruptRecordException(message) from None
        self.total += len(inflated) - MAX_INFLATED_BYTES
        return inflated


@dataclass(frozen=True)
class Batch:
    """The header of a batch of any format. last: its last offset; producer_id: -1 without one."""

    magic: int
    base: int
    last: int
    codec: int
    producer_id: int = -1
    transactional: bool = False
    control: bool = False


def split(data: bytes) -> list[bytes]:
    """Return the complete batches of a fetch. A fetch may end inside a batch; that rest is left out."""
    batches, position = [], 0
    while position + _PREFIX.size <= len(data):
        _, length = _PREFIX.unpack_from(data, position)
        end = position + _PREFIX.size + length
        if length < 0 or end > len(data):
            break
        batches.append(data[position:end])
        position = end
    return batches


def read_batch(raw: bytes) -> Batch:
    """Return the header of a batch, once its checksum is right. Raises CorruptRecordException."""
    magic = raw[_MAGIC_AT] if len(raw) > _MAGIC_AT else -1
    if magic in _LEGACY_PAYLOAD:
        return _read_legacy(raw, magic)
    if magic != _CURRENT or len(raw) < _HEADER.size:
        raise CorruptRecordException(f"record format {magic} is unknown, or the batch is cut short")
    base, _, _, _, checksum, attributes, delta, _, _, producer_id, _, _, _ = _HEADER.unpack_from(raw)
    if calc_crc32c(raw[_CHECKSUM_FROM:]) != checksum:
        raise CorruptRecordException("the checksum is wrong")
    if not 0 <= delta < MAX_OFFSETS:
        raise CorruptRecordException(f"the batch claims {delta + 1} offsets")
    flags = bool(attributes & _TRANSACTIONAL), bool(attributes & _CONTROL)
    return Batch(magic, base, base + delta, attributes & _CODEC, producer_id, *flags)


def stated_last(raw: bytes) -> int | None:
    """Return the last offset of a batch whose checksum is wrong, None if its header contradicts itself."""
    if len(raw) < _HEADER.size or raw[_MAGIC_AT] != _CURRENT:
        return None
    base, *_, delta, _, _, _, _, _, count = _HEADER.unpack_from(raw)
    return base + delta if 0 <= delta < MAX_OFFSETS and count == delta + 1 else None


def read_records(raw: bytes, batch: Batch, inflated: InflatedBytes) -> Iterator[Record]:
    """Yield the records of a batch, in ascending order of their offsets. inflated: counts what this takes.

    Raises CorruptRecordException at the first record that breaks the format, or if the batch inflates to more than
    MAX_INFLATED_BYTES; also what the codec raises.
    """
    position = batch.base - 1 if batch.magic == _CURRENT else -1
    for record in _current(raw, batch, inflated) if batch.magic == _CURRENT else _legacy(raw, batch, inflated):
        if not position < record.offset <= batch.last:
            raise CorruptRecordException(f"record {record.offset} lies outside its batch or repeats an offset")
        position = record.offset
        yield record


def _current(raw: bytes, batch: Batch, inflated: InflatedBytes) -> Iterator[Record]:
    attributes, _, first_time, last_time, _, _, _, count = struct.unpack_from(">hiqqqhii", raw, _CHECKSUM_FROM)
    by_broker = bool(attributes & _LOG_APPEND_TIME)
    reader = _Reader(inflated.inflate(batch.codec, raw[_HEADER.size :]))
    for _ in range(count):
        length = reader.varint()
        end = reader.position + length
        if length < 0 or end > len(reader.data):
            raise CorruptRecordException("a record is longer than its batch")
        reader.take(1)  # attributes, which no version uses
        time_delta, offset_delta = reader.varint(), reader.varint()
        key, value = reader.sized(), reader.sized()
        headers = tuple(reader.headers())
        if reader.position != end:
            raise CorruptRecordException("a record's length does not fit its fields")
        time = last_time if by_broker else first_time + time_delta
        yield Record(batch.base + offset_delta, time, int(by_broker), key, value, headers)


class _Reader:
    """Reads fields from bytes and never beyond them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises CorruptRecordException."""
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise CorruptRecordException("a field is longer than its record")
        part = self.data[self.position : end]
        self.position = end
        return part

    def varint(self) -> int:
        """Return a zigzag-encoded number. Raises CorruptRecordException."""
        number = 0
        for index, byte in enumerate(self.data[self.position : self.position + _MAX_VARINT_BYTES]):
            number |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                self.position += index + 1
                return (number >> 1) ^ -(number & 1)
        raise CorruptRecordException("a number is cut short or too long")

    def sized(self) -> bytes | None:
        """Return bytes after their length; None for the length -1."""
        length = self.varint()
        return None if length == -1 else self.take(length)

    def sized_by_int(self) -> bytes | None:
        """Return bytes after their length as in formats 0 and 1; None for the length -1."""
        (length,) = struct.unpack(">i", self.take(4))
        return None if length == -1 else self.take(length)

    def headers(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield the headers of a record. Names that are not UTF-8 get replacement characters."""
        count = self.varint()
        if not 0 <= count <= MAX_HEADERS:
            raise CorruptRecordException(f"a record has {count} headers; at most {MAX_HEADERS} are read")
        for _ in range(count):
            yield self.take(self.varint()).decode("utf-8", "replace"), self.sized()


def _read_legacy(raw: bytes, magic: int) -> Batch:
    """Return the header of a message of format 0 or 1. A compressed one wraps others and has the last one's offset."""
    offset, _ = _PREFIX.unpack_from(raw)
    if len(raw) < _LEGACY_PAYLOAD[magic] + 8:
        raise CorruptRecordException("the message is cut short")
    (checksum,) = struct.unpack_from(">I", raw, _PREFIX.size)
    if zlib.crc32(raw[_MAGIC_AT:]) != checksum:
        raise CorruptRecordException("the checksum is wrong")
    return Batch(magic, offset, offset, raw[_MAGIC_AT + 1] & _CODEC)


def _legacy(raw: bytes, batch: Batch, inflated: InflatedBytes) -> Iterator[Record]:
    wrapper = _legacy_record(raw, batch.magic, batch.base)
    if not batch.codec:
        yield wrapper
        return
    inner = split(inflated.inflate(batch.codec, wrapper.value or b""))
    heads = [_read_legacy(message, message[_MAGIC_AT]) for message in inner if message[_MAGIC_AT : _MAGIC_AT + 1]]
    if not heads or any(head.magic != batch.magic or head.codec for head in heads):
        raise CorruptRecordException("a wrapper holds no plain messages of its own format")
    shift = batch.base - heads[-1].base if batch.magic == 1 else 0  # format 1 counts from 0 inside a wrapper
    for message, head in zip(inner, heads, strict=True):
        yield _legacy_record(message, head.magic, head.base + shift)


def _legacy_record(raw: bytes, magic: int, offset: int) -> Record:
    reader = _Reader(raw)
    reader.position = _LEGACY_PAYLOAD[magic]
    key, value = reader.sized_by_int(), reader.sized_by_int()
    time = struct.unpack_from(">q", raw, _MAGIC_AT + 2)[0] if magic else NO_TIMESTAMP
    kind = (raw[_MAGIC_AT + 1] & _LOG_APPEND_TIME) // _LOG_APPEND_TIME if magic else None
    return Record(offset, time, kind, key, value)
