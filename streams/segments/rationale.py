"""The rationale of a prompt: what became of each term of each event field, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from schemas.events import SegmentUpdated
from streams.segments.mentions import Mention

_FIELDS = ("product_id", "keywords", "brand.features", "name", "interests", "description")
_MAX_LISTED = 8
_LETTERING = "left out, a text-to-image model draws names and slogans as garbled letters"
_TRANSLATIONS = {
    "given": "in the event's own English form",
    "table": "translated by the word table",
    "passed": "untranslated, used as it is (give an English form for better pictures)",
    "folded": "untranslated, used without diacritics (give an English form for better pictures)",
}
_REPLACED = "replaced by the nearest thing that these weights draw"
_NO_ROOM = "left out, the prompt has no room for it"


def rationale_lines(mentions: Iterable[Mention], omitted: Sequence[Mention]) -> list[str]:
    """Return the lines of every field. omitted: terms of the scene that did not fit into the prompt."""
    fates: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in _FIELDS}
    in_order = sorted(mentions, key=lambda mention: mention.shown == "" or mention in omitted)
    for mention in in_order:
        used = mention.shown != "" and mention not in omitted
        of_field = fates[mention.field]
        for fate, text in _used(mention) if used else [(mention.fate or _NO_ROOM, mention.term.original)]:
            of_field[fate].append(text)
    return [f"{name}: {fate}: {join_texts(texts)}" for name in _FIELDS for fate, texts in fates[name].items()]


def _used(mention: Mention) -> Iterable[tuple[str, str]]:
    """Yield each fate of a used term with the text to list."""
    term = mention.term
    yield "used", mention.shown if term.weight == 1.0 else f"{mention.shown} ({term.weight:g})"
    if term.origin in _TRANSLATIONS:
        yield _TRANSLATIONS[term.origin], f"{term.original} -> {term.words}"
    if mention.replaced and mention.drawn is not None and mention.thing is not None:
        yield _REPLACED, f"{mention.thing.words} -> {mention.drawn.words}"


def unused_fields(event: SegmentUpdated) -> list[str]:
    """Return a line for each non-empty field that never enters a prompt."""
    copy = event.ad_copy
    slogans = [text for text in (copy.headline, copy.subline, copy.call_to_action) if text] if copy else []
    brand = [event.brand.name] if event.brand else []
    fields = {"brand.name": brand, "copy": slogans}
    return [f"{name}: {_LETTERING}: {join_texts(texts)}" for name, texts in fields.items() if texts]


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts with semicolons. A long list ends with the number of texts left off."""
    listed = [" ".join(text.split())[:60] for text in texts[:_MAX_LISTED]]
    more = [f"and {len(texts) - _MAX_LISTED} more"] if len(texts) > _MAX_LISTED else []
    return "; ".join([*listed, *more])
