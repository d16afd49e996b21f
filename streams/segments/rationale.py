"""The rationale of a prompt: which words of each event field were used, translated or left out, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.events import SegmentUpdated
from streams.segments.words import Term, translate

_MAX_LISTED = 8
_LETTERING = "left out, a text-to-image model draws names and slogans as garbled letters"
_ORIGINS = {
    "given": "in the event's own English form",
    "glossary": "by the Polish glossary",
    "passed": "untranslated, passed on as they are (no English form, not in the glossary)",
    "folded": "untranslated, diacritics folded (give an English form for better pictures)",
}


@dataclass
class FieldTerms:
    """The usable terms of one event field in order of importance, and notes on the others."""

    name: str
    terms: list[Term] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_terms(self, entries: Iterable[tuple[str, str | None, float]], language: str, seen: set[str]) -> FieldTerms:
        """Clean, translate and sort `entries` (text, English form, weight). Drop terms whose key is in `seen`."""
        weightless: list[str] = []
        wordless: list[str] = []
        repeated: list[str] = []
        for text, english, weight in sorted(entries, key=lambda entry: -entry[2]):  # stable for equal weights
            term = translate(text, english, language, weight)
            if weight == 0:
                weightless.append(text)
            elif term is None:
                wordless.append(text)
            elif term.key in seen:
                repeated.append(text)
            else:
                seen.add(term.key)
                self.terms.append(term)
        self.add_note("dropped, their weight is 0", weightless)
        self.add_note("dropped, no words in them (emoji or signs only)", [ascii(text) for text in wordless])
        self.add_note("dropped, said before", repeated)
        return self

    def limit_terms(self, count: int) -> None:
        """Keep the first `count` terms and note the others as left out."""
        self.add_note(f"left out, beyond the {count} most important", [term.original for term in self.terms[count:]])
        self.terms = self.terms[:count]

    def add_note(self, reason: str, texts: list[str]) -> None:
        """Note the reason why these texts were not used. Adds nothing if `texts` is empty."""
        if texts:
            self.notes.append(f"{self.name}: {reason}: {join_texts(texts)}")

    def lines(self, omitted: Sequence[Term]) -> list[str]:
        """Return the field's lines of the rationale. omitted: terms that did not fit into the prompt."""
        lines: list[str] = []
        used = [term for term in self.terms if term not in omitted]
        if used:
            lines.append(f"{self.name}: used: {join_texts([_with_weight(term) for term in used])}")
        for origin, phrase in _ORIGINS.items():
            terms = [f"{term.original} -> {term.words}" for term in used if term.origin == origin]
            if terms:
                lines.append(f"{self.name}: {phrase}: {join_texts(terms)}")
        unfitting = [term.original for term in self.terms if term in omitted]
        if unfitting:
            lines.append(f"{self.name}: left out, no room: {join_texts(unfitting)}")
        return lines + self.notes


def unused_fields(event: SegmentUpdated) -> list[str]:
    """Return a line for each non-empty field that never enters a prompt."""
    copy = event.ad_copy
    slogans = [text for text in (copy.headline, copy.subline, copy.call_to_action) if text] if copy else []
    brand = [event.brand.name] if event.brand else []
    fields = {"brand.name": brand, "copy": slogans}
    return [f"{name}: {_LETTERING}: {join_texts(texts)}" for name, texts in fields.items() if texts]


def _with_weight(term: Term) -> str:
    return term.words if term.weight == 1.0 else f"{term.words} ({term.weight:g})"


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts with semicolons. A long list ends with the number of texts left off."""
    listed = [" ".join(text.split())[:60] for text in texts[:_MAX_LISTED]]
    more = [f"and {len(texts) - _MAX_LISTED} more"] if len(texts) > _MAX_LISTED else []
    return "; ".join([*listed, *more])
