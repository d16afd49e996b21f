"""Record batches as emitters, codecs and disks can make them: read, or turned into one `Unreadable`, and never an error."""

import asyncio
import gzip
import struct

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from streams.embedded import EmbeddedBroker
from streams.kafka import record_batches, record_format
from streams.kafka.inflation import TooLarge, inflate
from streams.kafka.record_batches import PartitionRecords, RawBatches, Unreadable
from tests.raw_batches import CODECS, at, batch, damaged_checksum, send_raw, with_checksum

TP = TopicPartition("segment-updated", 3)


def read(data, offset=0, isolation=fetcher.READ_UNCOMMITTED):
    records = PartitionRecords(TP, RawBatches(data), [], offset, None, None, True, isolation)
    return list(records), records.next_fetch_offset


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(codec):
    found, position = read(batch([b"one", b"two"], 5, CODECS[codec]) + batch([b"three"], 7, CODECS[codec]), 5)
    assert [(record.offset, record.value) for record in found] == [(5, b"one"), (6, b"two"), (7, b"three")]
    assert position == 8


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_header_name_that_is_not_utf8_costs_nothing(codec):
    raw = batch([b"one", b"two"], 5, headers=[("naive", b"v")]).replace(b"naive", b"na\xefve")
    raw = with_checksum(raw)
    if codec == "zstd":
        import cramjam

        attributes = struct.pack(">h", CODECS[codec])
        raw = raw[:21] + attributes + raw[23:61] + bytes(cramjam.zstd.compress(raw[61:]))
        raw = with_checksum(raw[:8] + struct.pack(">i", len(raw) - 12) + raw[12:])
    found, position = read(raw + batch([b"three"], 7), 5)
    assert [record.value for record in found] == [b"one", b"two", b"three"]
    assert found[0].headers == (("na\ufffdve", b"v"),)
    assert position == 8


def unknown_codec(raw):
    return with_checksum(raw[:21] + struct.pack(">h", 6) + raw[23:])


def future_format(raw):
    return with_checksum(raw[:16] + b"\x07" + raw[17:])


def wrong_record_count(raw):
    return with_checksum(raw[:57] + struct.pack(">i", 9) + raw[61:])


def broken_gzip(raw):
    return with_checksum(raw[:21] + struct.pack(">h", 1) + raw[23:])


@pytest.mark.parametrize("damage", [damaged_checksum, unknown_codec, future_format, broken_gzip])
def test_a_batch_that_cannot_be_read_becomes_one_record_and_the_next_is_served(damage):
    raw = damage(batch([b"one", b"two", b"three"], 5))
    found, position = read(raw + batch([b"four"], 8), 5)
    unreadable, good = found
    assert isinstance(unreadable.value, Unreadable)
    assert (unreadable.value, unreadable.offset) == (raw, 7)
    assert unreadable.value.reason.startswith("offsets 5 to 7 cannot be read (")
    assert unreadable.timestamp == -1
    assert (good.offset, good.value, position) == (8, b"four", 9)


def test_records_before_the_damage_are_served():
    found, position = read(wrong_record_count(batch([b"one", b"two"], 5)), 5)
    assert [record.value for record in found] == [b"one", b"two"]
    assert position == 7


def test_a_record_outside_its_batch_is_not_served():
    raw = batch([b"one", b"two"], 5)
    wrong = with_checksum(raw.replace(b"\x02\x02k\x06two", b"\x20\x02k\x06two"))
    assert wrong != raw
    found, position = read(wrong, 5)
    assert (found[0].value, found[1].offset, position) == (b"one", 6, 7)
    assert "lies outside its batch" in found[1].value.reason


def test_a_batch_that_is_fetched_again_from_its_middle_starts_there():
    found, _ = read(batch([b"one", b"two", b"three"], 5), 7)
    assert [record.value for record in found] == [b"three"]
    found, position = read(damaged_checksum(batch([b"one", b"two", b"three"], 5)), 6)
    assert found[0].value.reason.startswith("offsets 6 to 7 ")
    assert position == 8


def test_a_damaged_range_does_not_skip_the_topic():
    raw = batch([b"one"], 5)
    raw = raw[:23] + struct.pack(">i", 2**31 - 1) + raw[27:]
    found, position = read(raw, 5)
    assert isinstance(found[0].value, Unreadable)
    assert position == 6


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_inflates_beyond_the_limit_is_not_inflated(monkeypatch, codec):
    monkeypatch.setattr(record_format, "MAX_INFLATED_BYTES", 2**20)
    raw = batch([b"\0" * 2**22], 5, CODECS[codec])
    assert len(raw) < 2**18
    found, position = read(raw + batch([b"next"], 6), 5)
    assert "inflates to more than 1048576 bytes" in found[0].value.reason
    assert (found[1].value, position) == (b"next", 7)
    fits = batch([b"\0" * (2**20 - 100)], 5, CODECS[codec])
    assert len(read(fits, 5)[0][0].value) == 2**20 - 100


def test_gzip_in_several_members_counts_as_a_whole():
    data = gzip.compress(b"a" * 600) * 2
    assert len(inflate(CODECS["gzip"], data, 1200)) == 1200
    with pytest.raises(TooLarge):
        inflate(CODECS["gzip"], data, 1199)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_old_record_formats(monkeypatch, magic, codec):
    def legacy(value):
        builder = LegacyRecordBatchBuilder(magic=magic, compression_type=CODECS[codec], batch_size=2**26)
        builder.append(0 if magic else 5, timestamp=1000, key=None, value=value)
        return at(bytes(builder.build()), 5)

    assert [record.value for record in read(legacy(b"one"), 5)[0]] == [b"one"]
    if codec == "gzip":
        monkeypatch.setattr(record_format, "MAX_INFLATED_BYTES", 2**20)
        found, position = read(legacy(b"\0" * 2**22), 5)
        assert isinstance(found[0].value, Unreadable)
        assert position == 6


@pytest.mark.parametrize("rest", [b"", b"\0" * 7, batch([b"cut"], 9)[:-3]])
def test_a_fetch_that_ends_inside_a_batch_is_no_damage(rest):
    found, position = read(batch([b"one"], 5) + rest, 5)
    assert [record.value for record in found] == [b"one"]
    assert position == 6


def test_random_bytes_never_raise():
    import random

    random.seed(7)
    good = batch([b"one", b"two"], 5, CODECS["gzip"], [("a", b"b")])
    for _ in range(3000):
        raw = bytearray(good)
        for _ in range(random.randint(1, 6)):
            raw[random.randrange(12, len(raw))] = random.randrange(256)
        if random.random() < 0.7:
            raw = bytearray(with_checksum(bytes(raw)))
        found, position = read(bytes(raw), 5)
        offsets = [record.offset for record in found]
        assert offsets == sorted(set(offsets))
        assert all(5 <= offset < position for offset in offsets)


@pytest.fixture
def broker():
    broker = EmbeddedBroker({"segment-updated": 1})
    yield broker
    broker.stop()


async def test_a_consumer_gets_past_what_it_cannot_read(broker):
    record_batches.install()
    await send_raw(
        broker.bootstrap_servers,
        "segment-updated",
        damaged_checksum(batch([b"one", b"two"])),
        batch([b"three"], codec=4),
    )
    options = {"bootstrap_servers": broker.bootstrap_servers, "auto_offset_reset": "earliest"}
    consumer = AIOKafkaConsumer("segment-updated", **options)
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            unreadable, good = await consumer.getone(), await consumer.getone()
    finally:
        await consumer.stop()
    assert isinstance(unreadable.value, Unreadable)
    assert (unreadable.offset, good.offset, good.value) == (1, 2, b"three")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_librdkafka_producers_may_compress(broker, codec):
    record_batches.install()
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.codec": codec, "linger.ms": 50})
    for number in range(3):
        producer.produce("segment-updated", b"a long text " * 50 + b"%d" % number, partition=0)
    assert producer.flush(20) == 0
    consumer = AIOKafkaConsumer(
        "segment-updated", bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            values = [(await consumer.getone()).value for _ in range(3)]
    finally:
        await consumer.stop()
    assert [value[-1:] for value in values] == [b"0", b"1", b"2"]
