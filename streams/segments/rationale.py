"""What became of an event's words on their way into a prompt, told field by field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.events import SegmentUpdated
from streams.segments.words import Term, translate

_LISTED = 8
_LETTERING = "left out, a text-to-image model draws names and slogans as garbled letters"
_ORIGINS = {
    "given": "in the event's own English form",
    "glossary": "by the Polish glossary",
    "passed": "untranslated, passed on as they are (no English form, not in the glossary)",
    "folded": "untranslated, diacritics folded (give an English form for better pictures)",
}


@dataclass
class FieldTerms:
    """The usable terms of one field in order of importance, and notes on the others."""

    name: str
    terms: list[Term] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, given: Iterable[tuple[str, str | None, float]], language: str, seen: set[str]) -> FieldTerms:
        """Clean, translate and order `given` (text, English form, weight); drop what was seen before."""
        weightless: list[str] = []
        signs: list[str] = []
        repeated: list[str] = []
        for text, english, weight in sorted(given, key=lambda one: -one[2]):  # stable: equal weights keep their order
            term = translate(text, english, language, weight)
            if weight == 0:
                weightless.append(text)
            elif term is None:
                signs.append(text)
            elif term.key in seen:
                repeated.append(text)
            else:
                seen.add(term.key)
                self.terms.append(term)
        self.note("dropped, their weight is 0", weightless)
        self.note("dropped, no words in them (emoji or signs only)", [ascii(text) for text in signs])
        self.note("dropped, said before", repeated)
        return self

    def keep(self, most: int) -> None:
        """Drop all but the first `most` terms, noting the rest as left out."""
        self.note(f"left out, beyond the {most} most important", [term.original for term in self.terms[most:]])
        self.terms = self.terms[:most]

    def note(self, reason: str, texts: list[str]) -> None:
        """Say what became of these texts, if there are any."""
        if texts:
            self.notes.append(f"{self.name}: {reason}: {join_texts(texts)}")

    def lines(self, short: Sequence[Term]) -> list[str]:
        """Return a line for each thing that became of the field's words. short: terms the prompt has no room for."""
        lines: list[str] = []
        used = [term for term in self.terms if term not in short]
        if used:
            lines.append(f"{self.name}: used: {join_texts([_weighed(term) for term in used])}")
        for origin, phrase in _ORIGINS.items():
            terms = [f"{term.original} -> {term.words}" for term in used if term.origin == origin]
            if terms:
                lines.append(f"{self.name}: {phrase}: {join_texts(terms)}")
        missed = [term.original for term in self.terms if term in short]
        if missed:
            lines.append(f"{self.name}: left out, no room: {join_texts(missed)}")
        return lines + self.notes


def unused_fields(event: SegmentUpdated) -> list[str]:
    """Return a line for each field that has words and is kept out of every prompt."""
    copy = event.ad_copy
    slogans = [text for text in (copy.headline, copy.subline, copy.call_to_action) if text] if copy else []
    brand = [event.brand.name] if event.brand else []
    fields = {"brand.name": brand, "copy": slogans}
    return [f"{name}: {_LETTERING}: {join_texts(texts)}" for name, texts in fields.items() if texts]


def _weighed(term: Term) -> str:
    return term.words if term.weight == 1.0 else f"{term.words} ({term.weight:g})"


def join_texts(texts: Sequence[str]) -> str:
    """Return the texts apart by semicolons; long lists end in how many more there are."""
    shown = [" ".join(text.split())[:60] for text in texts[:_LISTED]]
    more = [f"and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    return "; ".join([*shown, *more])
