"""Show events as table rows: the columns of each topic and the cells of each message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.style import Style
from rich.table import Table
from rich.text import Text

from streams.cli.topic_reader import TopicMessage
from streams.printable import printable
from streams.settings import TopicSettings

COLUMNS: dict[str, tuple[str, ...]] = {
    "segment_updated": ("segment", "name", "event"),
    "product_registered": ("product", "name", "method", "photos", "event"),
    "creative_ready": ("segment", "prompt", "pictures", "score", "first picture"),
    "product_ready": ("product", "method", "steps", "concept", "first picture"),
    "creative_rejected": ("for", "code", "reason"),
    "dead": ("from", "code", "message"),
    "other": ("key", "value"),
}
LINK = "first picture"  # the column of URLs
WIDE = {"prompt", "concept", "reason", "message", "value"}  # take the rest of a terminal's line
WIDTHS = {"time": 14, "pictures": 8, "photos": 6, "score": 6, "steps": 6, "method": 17, LINK: 7}
WIDTH = 24  # of other columns
CELL_LIMIT = 300  # characters
_URL = re.compile(r"https?://[!-~]+")


def topic_kind(topic: str, topics: TopicSettings) -> str:
    """Return the name of the setting that names the topic, `dead` for dead letters, `other` for any other topic."""
    if topic.endswith(topics.dead_suffix):
        return "dead"
    kinds = {getattr(topics, kind): kind for kind in COLUMNS if kind not in {"dead", "other"}}
    return kinds.get(topic, "other")


def terminal_row(kind: str, cells: Sequence[str] | None = None) -> Table:
    """Return one line for a terminal: the cells that `event_row` made, or the header without cells.

    Rows printed one after the other form columns. A URL becomes a short link, since a presigned one fills five lines.
    """
    names = ("time", *COLUMNS[kind])
    order = [name for name in names if name not in WIDE] + [name for name in names if name in WIDE]
    shown = dict(zip(names, cells, strict=True)) if cells else {name: name for name in names}
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for name in order:
        wide = name == order[-1]
        width = None if wide else WIDTHS.get(name, WIDTH)
        row.add_column(width=width, min_width=WIDTHS.get(name), ratio=1 if wide else None, no_wrap=True)
    row.add_row(*(_terminal_cell(name, shown[name], header=not cells) for name in order))
    return row


def _terminal_cell(name: str, content: str, *, header: bool) -> Text:
    if header:
        return Text("picture" if name == LINK else content, style="bold", overflow="ellipsis")
    if name == LINK:
        return Text("picture", style=Style(link=content, underline=True)) if content else Text("")
    return Text(content, overflow="ellipsis")


def event_row(kind: str, message: TopicMessage) -> tuple[str, ...]:
    """Return the cells of one message: its local time, then one cell per column. No cell can control a terminal."""
    time = message.time.astimezone().strftime("%m-%d %H:%M:%S") if message.time else "?"
    named = zip(COLUMNS[kind], _cells(kind, message), strict=True)
    return time, *(cell if name == LINK else printable(cell[:CELL_LIMIT]) for name, cell in named)


def picture_url(kind: str, cells: Sequence[str]) -> str:
    """Return the URL in the cells of a row, "" if there is none."""
    return cells[1 + COLUMNS[kind].index(LINK)] if LINK in COLUMNS[kind] else ""


def _cells(kind: str, message: TopicMessage) -> tuple[str, ...]:
    fields = message.fields()
    if kind == "dead":
        return _dead_letter_cells(message)
    if fields is not None and kind != "other":
        try:
            return _event_cells(kind, fields)
        except (AttributeError, KeyError, TypeError, ValueError):
            pass  # not an event of this topic, such as `images` that is a number: show it as it is
    key, value = ((content or b"").decode(errors="replace") for content in (message.key, message.value))
    return _raw_cells(kind, key, value)


def _raw_cells(kind: str, key: str, value: str) -> tuple[str, ...]:
    """Return key and value of something that is no event, in as many cells as the topic has columns."""
    columns = COLUMNS[kind]
    wide = next((name for name in columns if name in WIDE), columns[1])
    return tuple({columns[0]: key, wide: value}.get(name, "") for name in columns)


def _dead_letter_cells(message: TopicMessage) -> tuple[str, ...]:
    headers = {name: (value or b"").decode(errors="replace") for name, value in message.headers}
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
            count = str(len(images))
            return text("segment_id"), text("prompt"), count, _ranking_score(first), _link(first)
        case "product_ready":
            return text("product_id"), text("method"), text("steps"), text("concept_uri"), _link(images[0])
        case _:
            return text("segment_id") or text("product_id"), text("code"), text("reason")


def _ranking_score(image: dict[str, Any]) -> str:
    """Return the first score of an image, which decided its rank."""
    scores = image.get("scores") or {}
    return next((f"{value:.3f}" for value in scores.values()), "")


def _link(image: dict[str, Any]) -> str:
    """Return the URL of an image if it is one of plain characters, else ""."""
    url = str(image.get("url", ""))
    return url if _URL.fullmatch(url) else ""
