"""Record batches built byte by byte, as no well-behaved producer would send them."""

import struct

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch(values, base=0, codec=0, headers=()):
    """Return the bytes of one record batch as a broker would send it."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=2**26,
    )  # fmt: skip
    for number, value in enumerate(values):
        builder.append(number, timestamp=1000, key=b"k", value=value, headers=list(headers))
    return at(bytes(builder.build()), base)


def at(raw, base):
    return struct.pack(">q", base) + raw[8:]


def with_checksum(raw):
    """Return the batch with the checksum that its other bytes need."""
    return raw[:17] + struct.pack(">I", calc_crc32c(raw[21:])) + raw[21:]


def damaged_checksum(raw):
    return raw[:-1] + bytes([raw[-1] ^ 1])


async def send_raw(servers, topic, *batches):
    """Produce batches byte by byte as given, one request each."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    for raw in batches:
        builder = producer.create_batch()
        builder.append(key=None, value=b"", timestamp=None)
        builder.close()
        builder._buffer = bytearray(raw)
        await (await producer.send_batch(builder, topic, partition=0))
    await producer.stop()
