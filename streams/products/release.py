"""Releases parked segments: publishes them again, 16 at once, and deletes each one after the broker confirms it.

A worker that is killed in between leaves every segment either parked or published, and a few of them both. The next
delivery of the registration releases the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import structlog

from models.errors import CreativesError
from streams.messages import Headers, Outcome, OutcomePublisher
from streams.store.outcomes import traceparent
from streams.store.parked import expired_keys, expiry_header, parked_keys, parked_segment
from streams.store.signed_objects import SignedObjects

log = structlog.get_logger(__name__)

_AT_ONCE = 16
_EXPIRY_INTERVAL = 3600.0  # seconds


async def release_parked(
    signed: SignedObjects, publisher: OutcomePublisher, product_id: str, headers: Headers = ()
) -> None:
    """Release the segments that wait for a product. headers: of its registration."""
    keys = await parked_keys(signed, product_id)
    await _release(keys, signed, publisher, headers)
    if keys:
        log.info("released the parked segments", product_id=product_id, segments=len(keys))


async def reject_expired(signed: SignedObjects, publisher: OutcomePublisher, max_days: float) -> None:
    """Release the segments that have waited for more than `max_days`, with the header that has them rejected.

    The header leads to one normal outcome per segment, `creative-rejected`, instead of a silent deletion.
    """
    limit = datetime.now(UTC) - timedelta(days=max_days)
    keys = await expired_keys(signed, limit)
    if keys:
        log.warning("rejecting segments that waited for their product for too long", days=max_days, segments=len(keys))
    await _release(keys, signed, publisher, expired_before=limit)


async def follow_expiry(signed: SignedObjects, publisher: OutcomePublisher, max_days: float) -> None:
    """Reject expired segments every hour, until cancelled."""
    while True:
        try:
            await reject_expired(signed, publisher, max_days)
        except (CreativesError, OSError) as error:
            log.warning("cannot look for expired segments yet", reason=str(error))
        await asyncio.sleep(_EXPIRY_INTERVAL)


async def _release(
    keys: Iterable[str],
    signed: SignedObjects,
    publisher: OutcomePublisher,
    headers: Headers = (),
    expired_before: datetime | None = None,
) -> None:
    async def release(key: str) -> None:
        event = await parked_segment(signed, key)
        if event is None:
            return
        trace = ("traceparent", traceparent(event.event_id, headers).encode())
        marks = (expiry_header(signed.signer, event, expired_before),) if expired_before is not None else ()
        key_bytes, value = event.segment_id.encode(), event.to_json()
        await publisher.publish(Outcome("segment_updated", key_bytes, value, (trace, *marks)))
        await signed.store.delete(key)

    await _for_each(keys, release)


async def _for_each(keys: Iterable[str], action: Callable[[str], Awaitable[None]]) -> None:
    """Run the action for each key, `_AT_ONCE` at the same time. Raises the first error after all tasks have ended."""
    remaining = iter(keys)

    async def work() -> None:
        for key in remaining:
            await action(key)

    tasks = [asyncio.create_task(work()) for _ in range(_AT_ONCE)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
