"""Batches that an attacker built: valid for a broker, or damaged, and each a danger for a reader that trusts them."""

import itertools
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import cramjam
import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.util import encode_varint
from aiokafka.structs import TopicPartition

from streams.kafka.inflation import TooLarge, inflate
from streams.kafka.record_batches import PartitionRecords, RawBatches, Unreadable
from tests.raw_batches import CODECS, at, with_checksum

ROOT = Path(__file__).parents[3]
MIB = 2**20


def varint(number):
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def record(delta=0, value=b"v", headers=b"\0", key=b"\x02k"):
    """Return one record of format 2. headers, key: as on the wire."""
    wire = b"\x01" if value is None else varint(len(value)) + value
    body = b"\0" + varint(0) + varint(delta) + key + wire + headers
    return varint(len(body)) + body


def record_batch(data, count, base=5, codec="none", last=None):
    """Return a batch with a good checksum. data: its records as on the wire."""
    if codec == "zstd":
        data = bytes(cramjam.zstd.compress(data))
    delta = count - 1 if last is None else last
    fields = (base, 49 + len(data), 0, 2, 0, CODECS[codec], delta, 1000, 1000, -1, -1, -1, count)
    return with_checksum(struct.pack(">qiibIhiqqqhii", *fields) + data)


def iterate(data, offset=5):
    return PartitionRecords(
        TopicPartition("segment-updated", 3), RawBatches(data), [], offset, None, None, True, fetcher.READ_UNCOMMITTED
    )


BAD_NAME = varint(1) + b"\x02\xff\x01"  # one header whose name is not UTF-8


def run_apart(code):
    """Run code in a process of its own: it may crash."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)


def test_a_length_beyond_the_batch_crashes_nothing():
    """aiokafka's pure Python reader read beyond its buffer here."""
    done = run_apart("""
        from tests.streams.kafka.test_hostile_records import BAD_NAME, iterate, record, record_batch, varint
        body = b"\\0" + varint(0) + varint(1) + varint(2**40)
        raw = record_batch(record(headers=BAD_NAME) + varint(len(body) + 9) + body + bytes(9), 2)
        assert [found.offset for found in iterate(raw)] == [5, 6]
    """)
    assert done.returncode == 0, done.stderr[-300:]


def test_a_wrapper_of_format_1_that_is_cut_short_crashes_nothing():
    """aiokafka's C reader trusted the lengths inside the wrapper."""
    raw = (
        "00000000000000050000004493db79df01020000000000000000ffffffff0000002e82534e41505059000000000100000001"
        "0000001a2300b9190114179570f74a010d102803e8000000016b00000000"
    )
    done = run_apart(f"""
        from tests.streams.kafka.test_hostile_records import iterate
        for _ in range(200):
            assert list(iterate(bytes.fromhex({raw!r})))
    """)
    assert done.returncode == 0, done.stderr[-300:]


def peak_of(data):
    tracemalloc.start()
    try:
        list(iterate(data))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_fetch_of_many_bombs_takes_bounded_memory():
    """300 bytes become 8 MiB, and a fetch holds hundreds of such batches. What is left is fetched again."""
    bombs = [record_batch(record(value=bytes(8 * MIB - 100)), 1, 5 + number, "zstd") for number in range(8)]
    data = b"".join(bombs)
    assert len(data) < 16 * 1024
    assert peak_of(data) < 50 * MIB
    records = iterate(data)
    offsets = [found.offset for found in records]
    assert offsets == [5, 6]
    assert records.next_fetch_offset == 7


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
@pytest.mark.parametrize("mebibytes", [7, 9])
def test_batches_that_inflate_and_then_fail_end_the_turn(codec, mebibytes):
    """1 KiB of zeros that are no records, or that exceed the limit: 500 of them once fitted into one poll."""
    encode = {
        1: cramjam.gzip.compress,
        2: cramjam.snappy.compress_raw,
        3: cramjam.lz4.compress,
        4: cramjam.zstd.compress,
    }
    bomb = bytes(encode[codec](bytes(mebibytes * MIB)))
    header = struct.pack(">qiibIhiqqqhii", 0, 49 + len(bomb), 0, 2, 0, codec, 0, 1000, 1000, -1, -1, -1, 1)
    bombs = [at(with_checksum(header + bomb), 5 + number) for number in range(20)]
    data = b"".join(bombs)
    position, turns = 5, []
    while position < 25:
        records = iterate(data[len(bombs[0]) * (position - 5) :], position)
        turns.append(len(list(records)))
        position = records.next_fetch_offset
    assert sum(turns) == 20
    assert max(turns) <= 3


def test_headers_count_towards_the_turn():
    """The bytes of headers, and what each empty one takes."""
    large = record(headers=varint(190) + (b"\x02h" + varint(32_000) + bytes(32_000)) * 190)
    empty = b"".join(record(delta, headers=varint(200) + b"\0\0" * 200) for delta in range(400))
    for data, count, most in ((large, 1, 3), (empty, 400, 3)):
        batches = (record_batch(data, count, 5 + number * count, "zstd") for number in range(8))
        assert len(list(iterate(b"".join(batches)))) <= most * count


@pytest.mark.parametrize("codec", [3, 4])
def test_no_data_is_inflated_more_than_twice(monkeypatch, codec):
    name, sizes = {3: "lz4", 4: "zstd"}[codec], []
    real = getattr(cramjam, name)

    class Codec:
        @staticmethod
        def decompress_into(data, buffer):
            sizes.append(len(buffer))
            return real.decompress_into(data, buffer)

    bomb = bytes(real.compress(bytes(40 * MIB)))
    monkeypatch.setattr(cramjam, name, Codec)
    with pytest.raises(TooLarge):
        inflate(codec, bomb, 32 * MIB)
    assert len(sizes) <= 2


def test_a_full_batch_of_events_may_inflate_to_eight_times_its_size():
    """A producer's batch of 1 MiB whose JSON compresses by the factor 8."""
    value = (b'{"segment_id":"s","name":"coffee enthusiast"}' * 6)[:256]
    count = (8 * MIB - 1000) // len(record(10_000, value))
    data = b"".join(record(number, value) for number in range(count))
    found = list(itertools.islice(iterate(record_batch(data, count, codec="zstd")), 10))
    assert [len(event.value) for event in found] == [256] * 10


@pytest.mark.parametrize("name", [b"\0\x01", b"\x02\xff\x01"], ids=["empty", "not UTF-8"])
def test_millions_of_headers_take_neither_memory_nor_time(name):
    count = 2_000_000
    data = record_batch(record(headers=varint(count) + b"\0\1" * (count - 1) + name), 1, codec="zstd")
    start = time.perf_counter()
    (found,) = iterate(data)
    assert time.perf_counter() - start < 2
    assert isinstance(found.value, Unreadable)
    assert "2000000 headers" in found.value.reason
    assert peak_of(data) < 100 * MIB


@pytest.mark.parametrize("bad", [b"\0", BAD_NAME])
def test_the_first_records_of_a_huge_batch_come_at_once(bad):
    """A poll takes 500 records, so a batch of 400,000 does not block the event loop."""
    count = 400_000
    data = b"".join(record(number, None) for number in range(count - 1)) + record(count - 1, None, bad)
    records = iterate(record_batch(data, count, codec="zstd"))
    start = time.perf_counter()
    found = list(itertools.islice(records, 500))
    assert time.perf_counter() - start < 1
    assert found[-1].offset == 504


def test_gzip_of_many_members_is_refused_at_once():
    member = bytes(cramjam.gzip.compress(b""))
    start = time.perf_counter()
    with pytest.raises(Exception, match="members"):
        inflate(CODECS["gzip"], member * (2 * MIB // len(member)), 32 * MIB)
    assert time.perf_counter() - start < 1


def test_no_offset_is_served_twice_and_none_goes_back():
    data = b"".join(record(delta, b"v", BAD_NAME) for delta in (1, 0, 1))
    records = list(iterate(record_batch(data, 3)))
    assert [(found.offset, isinstance(found.value, Unreadable)) for found in records] == [(6, False), (7, True)]


@pytest.mark.parametrize("magic", [2, 0xE4])
def test_a_damaged_header_skips_no_events_of_the_next_batch(magic):
    damaged = bytearray(record_batch(record(), 1, last=500))
    damaged[16], damaged[-1] = magic, damaged[-1] ^ 1
    found = list(iterate(bytes(damaged) + record_batch(record(value=b"good"), 1, 6)))
    assert [record.offset for record in found] == [5, 6]
    assert found[1].value == b"good"


def test_a_damaged_batch_that_is_fetched_alone_is_left_behind():
    damaged = bytearray(record_batch(record(), 1, last=500))
    damaged[-1] ^= 1
    position, offsets = 5, []
    for _ in range(3):  # the broker sends the batch again until the position is behind it
        records = iterate(bytes(damaged), position)
        offsets += [found.offset for found in records]
        position = records.next_fetch_offset
    assert offsets == [5, 6, 7]
