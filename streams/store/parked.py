"""Parked segments: events that wait until their product is trained."""

from __future__ import annotations

import json
from datetime import datetime

from schemas.events import SegmentUpdated
from streams.messages import PARKED_SINCE, Headers
from streams.store.keys import PARKED, parked_key, parked_prefix, parked_product
from streams.store.signed_objects import Expected, SignedObjects, Signer

_MAX_BYTES = 2 * 2**20  # the largest valid event takes half of it


async def park_segment(signed: SignedObjects, event: SegmentUpdated, product_id: str, request_id: str) -> None:
    """Store a segment until its product is trained."""
    await signed.write(_parked(parked_key(product_id, request_id)), event.to_json())


async def unpark_segment(signed: SignedObjects, product_id: str, request_id: str) -> None:
    """Delete a parked segment."""
    await signed.store.delete(parked_key(product_id, request_id))


async def parked_keys(signed: SignedObjects, product_id: str) -> list[str]:
    """Return the keys of a product's parked segments. Only a read shows which of them are planted."""
    found = await signed.store.list(parked_prefix(product_id))
    return [key for key in found if _is_own_key(signed, key)]


async def expired_keys(signed: SignedObjects, before: datetime) -> list[str]:
    """Return the keys of the segments that have been parked since before this time, of all products."""
    return [key for key in await signed.store.list(PARKED, before) if _is_own_key(signed, key)]


async def parked_segment(signed: SignedObjects, key: str) -> SegmentUpdated | None:
    """Return the segment that is parked at `key`, or None if there is none. key: one of `parked_keys`."""
    return await signed.read(_parked(key))


def expiry_header(signer: Signer, event: SegmentUpdated, since: datetime) -> tuple[str, bytes]:
    """Return the header that has an expired segment rejected: the time and a tag, which no emitter can make."""
    text = since.isoformat(timespec="seconds")
    return PARKED_SINCE, f"{text} {signer.tag(PARKED_SINCE, _expiry(event, text))}".encode()


def expired_since(signer: Signer, event: SegmentUpdated, headers: Headers) -> datetime | None:
    """Return the time in the segment's expiry header, or None without a header that a worker wrote for this segment."""
    text, _, tag = dict(headers).get(PARKED_SINCE, b"").decode("utf-8", "replace").partition(" ")
    return datetime.fromisoformat(text) if signer.has_tag(PARKED_SINCE, _expiry(event, text), tag) else None


def _expiry(event: SegmentUpdated, since: str) -> str:
    """Return what the tag covers. Unlike a request id, it survives an upgrade between parking and expiry."""
    return json.dumps([event.event_id, event.content(), since])


def _is_own_key(signed: SignedObjects, key: str) -> bool:
    """Return whether a segment can be parked at `key`. Stores refuse to read some other keys, as in an outage."""
    if parked_product(key) is not None:
        return True
    signed.invalid.report(key, "no parked segment has this name")
    return False


def _parked(key: str) -> Expected[SegmentUpdated]:
    def parse(content: bytes) -> SegmentUpdated:
        event = SegmentUpdated.model_validate_json(content)
        if event.product_id != parked_product(key):
            raise ValueError("it waits for another product")
        return event

    return Expected(key, _MAX_BYTES, parse)
