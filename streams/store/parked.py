"""Parked segments: events that wait until their product is trained."""

from __future__ import annotations

from collections.abc import AsyncIterator

from schemas.events import SegmentUpdated
from streams.store.keys import is_parked_key, parked_key, parked_prefix
from streams.store.signed_objects import Expected, SignedObjects

_MAX_BYTES = 2 * 2**20  # the largest valid event takes half of it


async def park_segment(signed: SignedObjects, event: SegmentUpdated, product_id: str, request_id: str) -> None:
    """Store a segment until its product is trained."""
    await signed.write(_parked(parked_key(product_id, request_id), product_id), event.to_json())


async def unpark_segment(signed: SignedObjects, product_id: str, request_id: str) -> None:
    """Delete a parked segment."""
    await signed.store.delete(parked_key(product_id, request_id))


async def parked_segments(signed: SignedObjects, product_id: str) -> AsyncIterator[tuple[str, SegmentUpdated]]:
    """Yield the key and event of each segment that waits for a product. Reads one at a time: there may be many."""
    for key in await parked_keys(signed, product_id):
        event = await signed.read(_parked(key, product_id))
        if event is not None:
            yield key, event


async def parked_keys(signed: SignedObjects, product_id: str) -> list[str]:
    """Return the keys of a product's parked segments. Only a read shows which of them are planted."""
    found = await signed.store.list(parked_prefix(product_id))
    for key in found:
        if not is_parked_key(key, product_id):
            signed.invalid.report(key, "a parked segment has another name")
    return [key for key in found if is_parked_key(key, product_id)]


def _parked(key: str, product_id: str) -> Expected[SegmentUpdated]:
    def parse(content: bytes) -> SegmentUpdated:
        event = SegmentUpdated.model_validate_json(content)
        if event.product_id != product_id:
            raise ValueError("it waits for another product")
        return event

    return Expected(key, _MAX_BYTES, parse)
