"""Show events as table rows: the columns of each topic and the cells of each message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from streams.cli.topic_reader import TopicMessage
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


def topic_kind(topic: str, topics: TopicSettings) -> str:
    """Return the name of the setting that names the topic, `dead` for dead letters, `other` for any other topic."""
    if topic.endswith(topics.dead_suffix):
        return "dead"
    kinds = {getattr(topics, kind): kind for kind in COLUMNS if kind not in {"dead", "other"}}
    return kinds.get(topic, "other")


def event_table(kind: str, rows: Sequence[tuple[str, ...]]) -> Table:
    """Return a table of rows that `event_row` made for this kind of topic."""
    table = Table("time", *COLUMNS[kind], header_style="bold", border_style="dim")
    for cells in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    return table


def event_row(kind: str, message: TopicMessage) -> tuple[str, ...]:
    """Return the cells of one message: its local time, then one cell per column."""
    time = datetime.fromtimestamp(message.timestamp / 1000).astimezone().strftime("%H:%M:%S")
    fields = message.fields()
    if kind == "dead":
        return time, *_dead_letter_cells(message)
    if fields is None or kind == "other":
        key, value = ((content or b"").decode(errors="replace") for content in (message.key, message.value))
        return time, key, value[:300]
    return time, *_event_cells(kind, fields)


def _dead_letter_cells(message: TopicMessage) -> tuple[str, ...]:
    headers = {name: value.decode(errors="replace") for name, value in message.headers}
    topic, partition, offset = (headers.get(f"dead_{name}", "?") for name in ("topic", "partition", "offset"))
    return f"{topic}[{partition}]@{offset}", headers.get("dead_code", ""), headers.get("dead_message", "")


def _event_cells(kind: str, fields: dict[str, Any]) -> tuple[str, ...]:
    def text(name: str) -> str:
        return str(fields.get(name, ""))

    images = fields.get("images") or [{}]
    match kind:
        case "segment_updated":
            return text("segment_id"), text("name"), text("event_id")
        case "product_registered":
            return text("product_id"), text("name"), text("method"), str(len(images)), text("event_id")
        case "creative_ready":
            first = images[0]
            count, url = str(len(images)), str(first.get("url", ""))
            return text("segment_id"), text("prompt"), count, _ranking_score(first), url
        case "product_ready":
            return text("product_id"), text("method"), text("steps"), text("concept_uri")
        case _:
            return text("segment_id") or text("product_id"), text("code"), text("reason")


def _ranking_score(image: dict[str, Any]) -> str:
    """Return the first score of an image, which decided its rank."""
    scores = image.get("scores") or {}
    return next((f"{value:.3f}" for value in scores.values()), "")
