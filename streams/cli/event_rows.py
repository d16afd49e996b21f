"""Events as rows for people: which columns a topic has, and what stands in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.cli.watcher import Seen
from streams.settings import TopicSettings

COLUMNS: dict[str, tuple[str, ...]] = {
    "segment_updated": ("segment", "name", "event"),
    "product_registered": ("product", "name", "method", "photos", "event"),
    "creative_ready": ("segment", "prompt", "pictures", "score", "first picture"),
    "product_ready": ("product", "method", "steps", "concept"),
    "creative_rejected": ("for", "code", "reason"),
    "dead": ("from", "code", "message"),
    "other": ("key", "value"),
}


def kind_of(topic: str, topics: TopicSettings) -> str:
    """Return the setting's name of a topic, `dead` for dead letters, `other` for what is not ours."""
    if topic.endswith(topics.dead_suffix):
        return "dead"
    ours = {getattr(topics, kind): kind for kind in COLUMNS if kind not in {"dead", "other"}}
    return ours.get(topic, "other")


def row(kind: str, seen: Seen) -> tuple[str, ...]:
    """Return the cells of one message, the time first."""
    time = datetime.fromtimestamp(seen.timestamp / 1000).astimezone().strftime("%H:%M:%S")
    fields = seen.fields()
    if kind == "dead":
        return time, *_dead(seen)
    if fields is None or kind == "other":
        return time, (seen.key or b"").decode(errors="replace"), (seen.value or b"").decode(errors="replace")[:300]
    return time, *_cells(kind, fields)


def _dead(seen: Seen) -> tuple[str, ...]:
    headers = {name: value.decode(errors="replace") for name, value in seen.headers}
    place = "{dead_topic}[{dead_partition}]@{dead_offset}".format_map(_Blank(headers))
    return place, headers.get("dead_code", ""), headers.get("dead_message", "")


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def _cells(kind: str, fields: dict[str, Any]) -> tuple[str, ...]:
    def text(name: str) -> str:
        return str(fields.get(name, ""))

    images = fields.get("images") or [{}]
    match kind:
        case "segment_updated":
            return text("segment_id"), text("name"), text("event_id")
        case "product_registered":
            return text("product_id"), text("name"), text("method"), str(len(images)), text("event_id")
        case "creative_ready":
            return text("segment_id"), text("prompt"), str(len(images)), score(images[0]), str(images[0].get("url", ""))
        case "product_ready":
            return text("product_id"), text("method"), text("steps"), text("concept_uri")
        case _:
            return text("segment_id") or text("product_id"), text("code"), text("reason")


def score(image: dict[str, Any]) -> str:
    """Return an image's first score, the one it was ranked by."""
    scores = image.get("scores") or {}
    return next((f"{value:.3f}" for value in scores.values()), "")
