"""Inflates compressed record batches within a limit.

aiokafka inflates a batch in one piece, so 400 KiB of gzip may become a gigabyte before any check.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

_GZIP_WINDOW = 31  # zlib's number for data with a gzip header and trailer
_MAX_GZIP_MEMBERS = 16  # producers write one; zlib copies the rest of the data for each
_FIRST_BUFFER = 2**20  # enough for nearly every batch
_XERIAL = b"\x82SNAPPY\x00"  # the framing that Java's snappy writes: a header of 16 bytes, then blocks with a length
_XERIAL_HEADER = 16


class TooLarge(Exception):
    """The batch inflates to more bytes than the limit."""


def inflate(codec: int, data: bytes, limit: int) -> bytes:
    """Return the inflated bytes, at most `limit` of them.

    codec: its number in a record batch: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    Raises TooLarge, UnsupportedCodecError for a codec that Kafka does not define, and what the codec raises for
    damaged data.
    """
    match codec:
        case 0:
            return data
        case 1:
            return _gzip(data, limit)
        case 2:
            return _snappy(data, limit)
        case 3:
            return _framed(cramjam.lz4, data, limit)
        case 4:
            return _framed(cramjam.zstd, data, limit)
        case _:
            raise UnsupportedCodecError(f"codec {codec} is unknown")


def _gzip(data: bytes, limit: int) -> bytes:
    inflated = b""
    for _ in range(_MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(_GZIP_WINDOW)
        inflated += member.decompress(data, limit - len(inflated) + 1)
        if len(inflated) > limit:
            raise TooLarge
        if not member.eof:
            raise CorruptRecordException("the gzip data is cut short")
        data = member.unused_data
        if not data:
            return inflated
    raise CorruptRecordException(f"the gzip data has more than {_MAX_GZIP_MEMBERS} members")


def _snappy(data: bytes, limit: int) -> bytes:
    blocks = list(_snappy_blocks(data))
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > limit:
        raise TooLarge
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _snappy_blocks(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_XERIAL):
        yield data
        return
    position = _XERIAL_HEADER
    while position < len(data):
        (length,) = struct.unpack_from("!i", data, position)
        position += 4
        if not 0 < length <= len(data) - position:
            raise CorruptRecordException("a snappy block has a wrong length")
        yield data[position : position + length]
        position += length


def _framed(codec: Any, data: bytes, limit: int) -> bytes:
    """Inflate lz4 or zstd into a buffer of fixed size; the codec raises if it is too small or the data is damaged.

    A first, small buffer saves most batches the cost of a large one. No data is inflated more than twice.
    """
    first = min(limit, max(_FIRST_BUFFER, 4 * len(data)))
    for size in dict.fromkeys((first, limit)):
        buffer = bytearray(size)
        try:
            written = codec.decompress_into(data, buffer)
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
        else:
            return bytes(memoryview(buffer)[:written])
    raise TooLarge
