"""The messages of a worker: raw events, outcomes, and the interface of the publisher."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from schemas.events import Source

Headers = tuple[tuple[str, bytes], ...]
PARKED_SINCE = "creatives-parked-since"
"""Header of a segment that waited for its product for too long: a time in ISO 8601, and a tag by the signing key. The
segment is rejected, not parked.
"""
OutcomeTopic = Literal["creative_ready", "product_ready", "creative_rejected", "segment_updated"]


@dataclass(frozen=True)
class RawEvent:
    """A Kafka message, undecoded. timestamp: the broker's, in milliseconds since 1970.

    unreadable: why the record cannot be read; `value` then holds the raw bytes of the record or its batch.
    """

    source: Source
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None
    unreadable: str | None = None


@dataclass(frozen=True)
class Outcome:
    """A message to publish. topic: the name of its setting, such as `creative_ready`, not the topic's own name.

    follow_up: called once the broker has confirmed the message; the event is acked after it. A retry or a redelivery
    calls it again.
    """

    topic: OutcomeTopic
    key: bytes
    value: bytes
    headers: Headers = ()
    follow_up: Callable[[], Awaitable[None]] | None = field(default=None, compare=False, repr=False)


class OutcomePublisher(Protocol):
    """Writes outcomes and dead letters. Both methods return once the broker has confirmed the message."""

    async def publish(self, outcome: Outcome) -> None:
        """Publish an outcome."""
        ...

    async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Write the dead letter of an event."""
        ...
