"""docs/events.md: the template events_page.md with its `{{placeholders}}` filled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.contract_docs import event_codes, limits
from scripts.contract_docs.event import Event
from scripts.contract_docs.field_tables import PAGE, Tables, shared_parts

TEMPLATE = Path(__file__).with_name("events_page.md")
# Width x height drawn for each native size, by `models` shape_of; a test compares them. The aspect is width / height.
NATIVE_SIZES = (64, 512, 768, 1024)
SIZES: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {
    "square": ("1", ((64, 64), (512, 512), (768, 768), (1024, 1024))),
    "portrait": ("4:5", ((64, 80), (448, 576), (704, 896), (928, 1152))),
    "landscape": ("1.91:1", ((96, 48), (704, 384), (1088, 576), (1408, 736))),
    "story": ("9:16", ((48, 80), (384, 704), (576, 1024), (768, 1376))),
}
SCALE = 4


def render(
    events: Sequence[Event],
    examples: Mapping[str, str],
    outcome_headers: Mapping[str, Any],
    dead_headers: Mapping[str, Any],
) -> str:
    """Return the page. examples: JSON text by topic, and `dead-letter`."""
    parts = shared_parts(events)
    filled = {f"example {name}": text.strip() for name, text in examples.items()}
    definitions: dict[str, Any] = {}
    for event in events:
        fields = event.fields()
        definitions |= fields.get("$defs", {})
        tables = Tables(fields.get("$defs", {}), parts, event.published)
        filled[f"summary {event.topic}"] = event.summary
        filled[f"fields {event.topic}"] = tables.table(fields)
    filled["parts"] = "\n\n".join(_part(name, definitions, parts) for name in sorted(parts))
    filled["limits"] = limits.table(events, parts)
    filled["sizes"] = "\n".join(_size_row(name) for name in SIZES)
    filled["headers outcomes"] = _headers(outcome_headers, list(outcome_headers))
    filled["headers dead"] = _headers(dead_headers["properties"], dead_headers["required"])
    filled["codes rejections"] = event_codes.table(event_codes.REJECTIONS)
    filled["codes dead"] = event_codes.table((*event_codes.DEAD_LETTERS, event_codes.UNEXPECTED))
    return re.sub(r"\{\{(.+?)\}\}", lambda found: filled[found[1]], TEMPLATE.read_text("utf-8"))


def _part(name: str, definitions: dict[str, Any], parts: frozenset[str]) -> str:
    model = definitions[name]
    return f"### {name}\n{model['description']}\n\n{Tables(definitions, parts, published=True).table(model)}"


def _size_row(name: str) -> str:
    aspect, shapes = SIZES[name]
    cells = [f"{width} x {height}, {width * SCALE} x {height * SCALE}" for width, height in shapes]
    return f"| `{name}` | {aspect} | {' | '.join(cells)} |"


def _headers(properties: Mapping[str, Any], required: Sequence[str]) -> str:
    rows = [
        f"| `{name}` | {'always' if name in required else 'sometimes'} | {_meaning(field)} |"
        for name, field in properties.items()
    ]
    return "\n".join(["| header | present | meaning |", "|---|---|---|", *rows])


def _meaning(field: Mapping[str, Any]) -> str:
    fixed = f"`{field['const']}`. " if "const" in field else ""
    return f"{fixed}{field['description']}".replace(f"({PAGE}#", "(#")
