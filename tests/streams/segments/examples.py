"""An example segment, and a reader of its rationale."""

from __future__ import annotations

from typing import Any

from schemas.events import SegmentUpdated


def segment(**changes: Any) -> SegmentUpdated:
    fields = {
        "event_id": "e1",
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": "coffee",
        "name": "coffee enthusiast",
        "keywords": [
            {"term": "latte", "weight": 2},
            {"term": "espresso", "weight": 9},
            {"term": "croissant", "weight": 4},
        ],
    }
    return SegmentUpdated.model_validate(fields | changes)


def about(lines: tuple[str, ...], field: str) -> list[str]:
    """Return the rationale's lines on one event field, without the field's name."""
    return [line.removeprefix(f"{field}: ") for line in lines if line.startswith(f"{field}: ")]
