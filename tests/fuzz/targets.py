"""The targets: each reads bytes, and may raise nothing but the errors that its callers handle."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models import wire_format
from models.errors import WeightsError
from models.learning.photo_decoding import PhotoRefused, decode_photo, open_photo
from models.weights import checkpoints, vocabulary
from models.wire_format import FROM_DEVICE, PREFIX, InvalidMessage
from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.failures import AddressForbidden, InvalidEvent
from streams.kafka import record_format
from streams.kafka.decoding import EventLimits, decode
from streams.messages import RawEvent
from streams.products import photo_hosts
from streams.segments.prompting import Prompter
from streams.settings import Settings
from streams.store.concepts import current_concept
from streams.store.keys import manifest_key
from streams.store.manifests import read_manifest
from streams.store.parked import parked_keys, parked_segment
from streams.store.signed_objects import InvalidObjects, SignedObjects
from tests.fakes import MemoryStore
from tests.fuzz import seeds
from tests.raw_batches import with_checksum
from tests.streams.store.outcome_examples import SEGMENT
from tests.streams.store.signing import SIGNER

LIMITS = EventLimits(Settings())
MAX_PIXELS = 10**6


@dataclass(frozen=True)
class Target:
    """A reader of untrusted bytes. read: raises only if it has a fault. seeds: sound inputs to start from."""

    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def _event(model: type[SegmentUpdated | ProductRegistered]) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        raw = RawEvent(Source(topic="input", partition=0, offset=0), key=None, value=content)
        with suppress(InvalidEvent):
            decode(raw, model, LIMITS)

    return read


def _prompt(content: bytes) -> None:
    raw = RawEvent(Source(topic="segment-updated", partition=0, offset=0), key=None, value=content)
    with suppress(InvalidEvent):
        _prompter().compose(decode(raw, SegmentUpdated, LIMITS))


@cache
def _prompter() -> Any:
    return Prompter(str(vocabulary.clip_vocabulary()), 77, "blurry")


def record_offsets(raw: bytes) -> list[int]:
    """Return the offsets of the records in a batch, whatever its checksum."""
    batch = record_format.read_batch(with_checksum(raw))
    return [record.offset for record in record_format.read_records(raw, batch, record_format.InflatedBytes())]


def _record_batches(content: bytes) -> None:
    for raw in record_format.split(content):
        offsets = []
        with suppress(Exception):  # the consumer handles any; a fault is a crash, a hang or a memory bomb
            offsets = record_offsets(raw)
        if offsets != sorted(set(offsets)):
            raise AssertionError(f"the offsets {offsets[:20]} do not ascend")


def _in_store(key: str, read: Callable[[SignedObjects], Coroutine[Any, Any, object]]) -> Callable[[bytes], None]:
    """Return a reader of an object as anybody can plant it, and of the same content with a valid signature."""

    def run(content: bytes) -> None:
        for planted in (content, SIGNER.sign(key, content)):
            store = MemoryStore()
            store.objects[key] = planted
            asyncio.run(read(SignedObjects(store, SIGNER, InvalidObjects())))

    return run


async def _pointer(signed: SignedObjects) -> None:
    await current_concept(signed, seeds.PRODUCT_ID)


async def _manifest(signed: SignedObjects) -> None:
    await read_manifest(signed, SEGMENT)


async def _parked_segments(signed: SignedObjects) -> None:
    for key in await parked_keys(signed, seeds.PRODUCT_ID):
        await parked_segment(signed, key)


def _tensor_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(WeightsError):
        path = Path(folder, "weights.safetensors")
        path.write_bytes(content)
        checkpoints.read(path, "diffusion")


def _photo(content: bytes) -> None:
    with suppress(PhotoRefused):
        decode_photo(content, open_photo(content, 64, MAX_PIXELS))


def _device_frame(content: bytes) -> None:
    if len(content) < PREFIX.size:
        return
    header, _ = PREFIX.unpack_from(content)
    body = content[PREFIX.size :]
    with suppress(InvalidMessage):
        wire_format.decode(body[:header], body[header:], FROM_DEVICE)


def _photo_address(content: bytes) -> None:
    uri = content.decode("utf-8", "replace")
    try:
        host = photo_hosts._allowed_host(uri, urlsplit(uri), seeds.ALLOWED_HOSTS)
    except (AddressForbidden, ValueError):
        return
    if host not in seeds.ALLOWED_HOSTS:
        raise AssertionError(f"the host {host!r} is not allowed")


TARGETS = {
    "segment-events": Target(_event(SegmentUpdated), seeds.segment_events),
    "product-events": Target(_event(ProductRegistered), seeds.product_events),
    "prompts": Target(_prompt, seeds.segment_events),
    "record-batches": Target(_record_batches, seeds.record_batches),
    "concept-pointers": Target(_in_store(seeds.POINTER_KEY, _pointer), seeds.pointers),
    "manifests": Target(_in_store(manifest_key(SEGMENT), _manifest), seeds.manifests),
    "parked-segments": Target(_in_store(seeds.PARKED_KEY, _parked_segments), seeds.parked_segments),
    "device-frames": Target(_device_frame, seeds.device_frames),
    "tensor-files": Target(_tensor_file, seeds.tensor_files),
    "photos": Target(_photo, seeds.photos),
    "photo-addresses": Target(_photo_address, seeds.photo_addresses),
}
