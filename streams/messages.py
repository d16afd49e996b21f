"""What goes through our hands: a Kafka message as it came, and the outcome that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.events import Source

Headers = tuple[tuple[str, bytes], ...]
OutcomeTopic = Literal["creative_ready", "product_ready", "creative_rejected", "segment_updated"]


@dataclass(frozen=True)
class RawEvent:
    """A Kafka message as it came. timestamp: milliseconds since 1970, as the broker has it."""

    source: Source
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None


@dataclass(frozen=True)
class Outcome:
    """One message to publish. topic: the setting's name, such as `creative_ready`, not the topic's own."""

    topic: OutcomeTopic
    key: bytes
    value: bytes
    headers: Headers = ()
