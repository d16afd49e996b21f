"""Parked segments: events that wait until their product is trained."""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog
from pydantic import ValidationError

from schemas.events import SegmentUpdated
from streams.failures import ObjectTooLarge
from streams.store.keys import parked_key, parked_prefix
from streams.store.protocol import ObjectStore

log = structlog.get_logger(__name__)

_MAX_BYTES = 8 * 2**20  # far more than any valid event takes


async def park_segment(store: ObjectStore, event: SegmentUpdated, product_id: str, request_id: str) -> None:
    """Store a segment until its product is trained."""
    await store.put(parked_key(product_id, request_id), event.to_json(), "application/json")


async def unpark_segment(store: ObjectStore, product_id: str, request_id: str) -> None:
    """Delete a parked segment."""
    await store.delete(parked_key(product_id, request_id))


async def parked_segments(store: ObjectStore, product_id: str) -> AsyncIterator[tuple[str, SegmentUpdated]]:
    """Yield the key and event of each segment that waits for a product. Reads one at a time: there may be many."""
    for key in await store.list(parked_prefix(product_id)):
        try:
            content = await store.get(key, _MAX_BYTES)
            if content is not None:
                yield key, SegmentUpdated.model_validate_json(content)
        except (ValidationError, ObjectTooLarge):
            log.warning("ignoring an object that is not a parked segment", key=key)
