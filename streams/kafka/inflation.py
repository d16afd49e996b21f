"""Limits the inflated size of compressed record batches, without holding more than the limit in memory.

aiokafka inflates a batch in one piece: 400 KiB of gzip may become a gigabyte before any check.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cramjam

_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_GZIP_WINDOW = 31  # zlib's number for a gzip header and trailer
_CHUNK = 2**20
_XERIAL = b"\x82SNAPPY\x00"  # the framing that Java's snappy writes: a header of 16 bytes, then blocks with a length
_XERIAL_HEADER = 16


class TooLarge(Exception):
    """The inflated batch exceeds the limit."""


def check_inflated_size(codec: int, data: bytes, limit: int) -> None:
    """Raise TooLarge if `data` inflates to more than `limit` bytes.

    codec: the number in a record batch's attributes. Codecs that Kafka does not define pass; their reader reports them.
    Raises the codec's own error for damaged data.
    """
    if codec == _GZIP:
        _check_gzip(data, limit)
    elif codec == _SNAPPY:
        if sum(cramjam.snappy.decompress_raw_len(block) for block in _snappy_blocks(data)) > limit:
            raise TooLarge
    elif codec in {_LZ4, _ZSTD}:
        _check_frames(cramjam.lz4 if codec == _LZ4 else cramjam.zstd, data, limit)


def _check_gzip(data: bytes, limit: int) -> None:
    size = 0
    while data:
        member = zlib.decompressobj(_GZIP_WINDOW)
        rest = data
        while not member.eof and (chunk := member.decompress(rest, _CHUNK)):
            size += len(chunk)
            if size > limit:
                raise TooLarge
            rest = member.unconsumed_tail
        data = member.unused_data


def _snappy_blocks(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_XERIAL):
        yield data
        return
    position = _XERIAL_HEADER
    while position < len(data):
        (length,) = struct.unpack_from("!i", data, position)
        position += 4
        if length < 0:
            raise ValueError("a snappy block has a negative length")
        yield data[position : position + length]
        position += length


def _check_frames(codec: object, data: bytes, limit: int) -> None:
    """Inflate into a buffer of fixed size; the codec raises if the buffer is too small or the data is damaged."""
    size = min(limit, max(_CHUNK, 16 * len(data)))
    while True:
        try:
            codec.decompress_into(data, bytearray(size))  # type: ignore[attr-defined]
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
            if size >= limit:
                raise TooLarge from None
            size = min(limit, 4 * size)
        else:
            return
