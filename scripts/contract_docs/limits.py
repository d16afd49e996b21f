"""Every number and list that an emitter controls: the limit of the contract, and the operator's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.contract_docs.event import Event
from scripts.contract_docs.field_tables import Tables
from streams.settings import Settings

_DEFAULTS = Settings.model_construct()
CAPS: dict[str, tuple[str, int]] = {
    "candidates": ("CREATIVES_STUDIO__MAX_CANDIDATES", _DEFAULTS.studio.max_candidates),
    "steps": ("CREATIVES_TRAINING__MAX_STEPS", _DEFAULTS.training.max_steps),
    "segment-updated.images": ("CREATIVES_STUDIO__MAX_IMAGES", _DEFAULTS.studio.max_images),
}
"""The setting that caps a field further, and its default."""


def table(events: Sequence[Event], parts: frozenset[str]) -> str:
    """Return the table in Markdown."""
    rows = [row for event in events if not event.published for row in _rows(event, parts)]
    return "\n".join(["| event | field | contract | setting that caps it |", "|---|---|---|---|", *rows])


def _rows(event: Event, parts: frozenset[str]) -> Iterator[str]:
    fields = event.fields()
    for path, kind in Tables(fields.get("$defs", {}), parts, event.published).limits(fields):
        cap = CAPS.get(f"{event.topic}.{path}") or CAPS.get(path)
        setting = f"`{cap[0]}` ({cap[1]:,})" if cap else ""
        yield f"| `{event.topic}` | `{path}` | {kind} | {setting} |"
