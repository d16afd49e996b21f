"""Events that the fault scenarios send, and the record of what was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass


def segment_event(event_id: str, segment_id: str, name: str = "Coffee enthusiast") -> dict[str, object]:
    """Return a segment-updated event. Words of the name, such as `slowly`, control the fake studio.

    A prompt holds such words only if the event names nothing visible.
    """
    commands = " ".join(word for word in name.split() if word not in {"Coffee", "enthusiast"})
    if commands:
        return {
            "event_id": event_id,
            "occurred_at": "2026-11-23T10:00:00Z",
            "segment_id": segment_id,
            "name": commands,
        }
    return {
        "event_id": event_id,
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": segment_id,
        "name": name,
        "description": f"People of {segment_id}",
        "keywords": [{"term": "espresso", "weight": 2.0}, {"term": segment_id.replace("-", " "), "weight": 1.0}],
    }


def segment_events(prefix: str, count: int, segments: int = 16) -> list[dict[str, object]]:
    """Return `count` events of `segments` segments, which spread over all partitions. prefix: of the event ids."""
    return [segment_event(f"{prefix}-{n:04d}", f"segment-{n % segments}") for n in range(count)]


@dataclass(frozen=True)
class SentRecord:
    """An input as Kafka stored it. event_id: None if the value is not an event."""

    topic: str
    partition: int
    offset: int
    event_id: str | None
    key: bytes | None
    value: bytes | None

    @property
    def may_be_parked(self) -> bool:
        """Whether the record is a segment that waits for its product if no concept is ready."""
        return b'"segment_id"' in (self.value or b"") and b'"product_id"' in (self.value or b"")


def event_id_of(value: bytes | None) -> str | None:
    """Return the event_id of a record's value, or None if it has none."""
    try:
        return str(json.loads(value or b"")["event_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
