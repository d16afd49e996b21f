"""A segment's description to the prompt of its pictures: the most important first, within the text encoder's length.

Template 1: `an advertising photo of {the product,} {two heaviest things}, {further terms}, {brand features},
{segment name}, soft light`. The same event gives the same prompt. The rationale says, field by field, what was used,
what was left out and why, and how Polish became English (`streams.terms`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.events import SegmentUpdated
from streams.failures import InvalidEvent
from streams.terms import Term, abstract_words, clean, put_in_english, visible_words
from streams.vocabulary import Vocabulary

TEMPLATE_VERSION = 1
_OPENING = "an advertising photo of"
_CLOSING = "soft light"
_FURTHER = {"keywords": 6, "brand.features": 4, "interests": 3, "description": 3}  # more would only dilute a picture
_LISTED = 8


@dataclass(frozen=True)
class Prompt:
    """What the text encoder is given, and why. tokens: of `text`, start and end included."""

    text: str
    negative: str
    rationale: tuple[str, ...]
    tokens: int
    template_version: int = TEMPLATE_VERSION


@dataclass
class _Terms:
    """The usable terms of one field in order of importance, and notes on the others."""

    name: str
    terms: list[Term] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, given: Iterable[tuple[str, str | None, float]], language: str, seen: set[str]) -> _Terms:
        """Clean, translate and order `given` (text, English form, weight); drop what was seen before."""
        signs: list[str] = []
        repeated: list[str] = []
        for text, english, weight in sorted(given, key=lambda one: -one[2]):  # stable: equal weights keep their order
            term = put_in_english(text, english, language, weight)
            if term is None:
                signs.append(text)
            elif term.key in seen:
                repeated.append(text)
            else:
                seen.add(term.key)
                self.terms.append(term)
        self._note("dropped, no words in them (emoji or signs only)", [ascii(text) for text in signs])
        self._note("dropped, said before", repeated)
        return self

    def keep(self, most: int) -> None:
        """Drop all but the first `most` terms, noting the rest as left out."""
        self._note(f"left out, beyond the {most} most important", [term.original for term in self.terms[most:]])
        self.terms = self.terms[:most]

    def _note(self, reason: str, texts: list[str]) -> None:
        if texts:
            self.notes.append(f"{self.name}: {reason}: {_listed(texts)}")


class Prompter:
    """Composes prompts. tokenizer: see `Vocabulary`. max_tokens: the text encoder's length, 77 for CLIP."""

    def __init__(self, tokenizer: str, max_tokens: int, negative_prompt: str) -> None:
        self._vocabulary = Vocabulary(tokenizer)
        self._max_tokens = max_tokens
        self._negative = negative_prompt

    def compose(self, event: SegmentUpdated, subject: str | None = None) -> Prompt:
        """Return the prompt of a segment. subject: how the prompt names the product (`models.briefs.subject`).

        Raises InvalidEvent where no field holds a word.
        """
        parts = _Parts.of(event, subject)
        if not parts.heads:
            raise InvalidEvent(field="name", rule="holds no word that a prompt could be made of")
        text, short = self._fitting(parts)
        rationale = (f"template {TEMPLATE_VERSION}", *parts.rationale(short))
        tokens = self._vocabulary.count(text)
        return Prompt(text, self._negative, (*rationale, f"{tokens} of {self._max_tokens} tokens"), tokens)

    def _fitting(self, parts: _Parts) -> tuple[str, list[Term]]:
        """Return the text of as many parts as fit, added by importance, and the terms there was no room for."""
        chosen: list[Term] = []
        short: list[Term] = []
        for term in parts.by_importance():
            if self._fits(parts.text([*chosen, term])):
                chosen.append(term)
            elif not chosen:
                chosen.append(self._shortened(term, parts))
            else:
                short.append(term)
        closed = parts.text(chosen, _CLOSING)
        return closed if self._fits(closed) else parts.text(chosen), short

    def _shortened(self, term: Term, parts: _Parts) -> Term:
        """Return the first term with as many of its words as fit; its first letters where not even one word does."""
        words = term.words.split()
        pieces = [" ".join(words[:count]) for count in range(len(words), 0, -1)]
        pieces += [words[0][:count] for count in range(len(words[0]) - 1, 0, -1)]
        for piece in pieces:
            shorter = Term(piece, term.original, term.origin, term.weight)
            parts.replace(term, shorter)
            term = shorter
            if self._fits(parts.text([term])):
                break
        return term

    def _fits(self, text: str) -> bool:
        return self._vocabulary.count(text) <= self._max_tokens


@dataclass
class _Parts:
    """The terms of an event by their place in the template. heads: what the picture shows, the product first."""

    heads: list[Term]
    further: list[Term]
    features: list[Term]
    name: list[Term]
    fields: list[_Terms]

    @classmethod
    def of(cls, event: SegmentUpdated, subject: str | None) -> _Parts:
        """Sort an event's fields into places."""
        language, seen = event.language, set[str]()
        keywords = _Terms("keywords").take(
            ((one.term, one.en, one.weight) for one in event.keywords if one.weight > 0), language, seen
        )
        features = _Terms("brand.features").take(_even(event.brand.features if event.brand else ()), language, seen)
        name = _Terms("name").take([(event.name, event.name_en, 1.0)], language, seen)
        interests = _Terms("interests").take(_even(event.interests), language, seen)
        description = _description(event, seen)
        heads = _heads(keywords.terms, interests.terms, description.terms, name.terms)
        product = [Term(subject, subject)] if subject else []
        for group in (keywords, interests, description, features):
            ahead = [term for term in group.terms if term in heads]
            rest = [term for term in group.terms if term not in heads]
            group.terms = ahead + rest
            group.keep(len(ahead) + _FURTHER[group.name])
        further = [term for group in (keywords, interests, description) for term in group.terms if term not in heads]
        names = [term for term in name.terms if term not in heads]
        return cls(
            [*product, *heads], further, features.terms, names, [keywords, features, name, interests, description]
        )

    def by_importance(self) -> list[Term]:
        """Return every term, the most important first: things, then who it is for, the brand's looks, the rest."""
        return [*self.heads, *self.name, *self.features, *self.further]

    def text(self, chosen: Sequence[Term], closing: str = "") -> str:
        """Return the template filled with those terms that were chosen."""
        heads = [term.words for term in self.heads if term in chosen]
        others = [term.words for term in (*self.further, *self.features, *self.name) if term in chosen]
        return ", ".join([f"{_OPENING} {_joined(heads)}", *others, *([closing] if closing else [])])

    def replace(self, old: Term, new: Term) -> None:
        """Let `new` stand where `old` stood."""
        self.heads = [new if term is old else term for term in self.heads]
        for group in self.fields:
            group.terms = [new if term is old else term for term in group.terms]

    def rationale(self, short: list[Term]) -> list[str]:
        """Return a line for each field: used, translated, untranslated, left out."""
        lines: list[str] = []
        for group in self.fields:
            used = [term for term in group.terms if term not in short]
            if used:
                lines.append(f"{group.name}: used: {_listed([_weighed(term) for term in used])}")
            for origin, phrase in _ORIGINS.items():
                terms = [f"{term.original} -> {term.words}" for term in used if term.origin == origin]
                if terms:
                    lines.append(f"{group.name}: {phrase}: {_listed(terms)}")
            missed = [term.original for term in group.terms if term in short]
            if missed:
                lines.append(f"{group.name}: left out, no room: {_listed(missed)}")
            lines += group.notes
        return lines


_ORIGINS = {
    "given": "in the event's own English form",
    "glossary": "by the Polish glossary",
    "passed": "passed on as they are (no English form, not in the glossary)",
    "folded": "untranslated, diacritics folded (give an English form for better pictures)",
}


def _heads(*groups: list[Term]) -> list[Term]:
    """Return the two things the picture shows: the first concrete terms of the first fields that have any."""
    candidates = [term for group in groups[:-1] for term in group]
    concrete = [term for term in candidates if not abstract_words().issuperset(term.words.lower().split())]
    return (concrete or candidates or groups[-1])[:2]


def _description(event: SegmentUpdated, seen: set[str]) -> _Terms:
    """Return the words of the description that name things one can see; prose itself would not help a picture."""
    terms = _Terms("description")
    prose = event.description_en or (event.description if event.language.startswith("en") else "")
    words = clean(prose).lower().split()
    spoken = {word for key in seen for word in key.split()}
    for word in dict.fromkeys(words):
        if word in visible_words() and word not in spoken:
            terms.terms.append(Term(word, word))
    if event.description and not terms.terms:
        terms.notes.append("description: left out, it names nothing to be seen that is not said already")
    return terms


def _even(texts: Iterable[str]) -> list[tuple[str, str | None, float]]:
    return [(text, None, 1.0) for text in texts]


def _joined(words: list[str]) -> str:
    """Return `a`, `a and b`, `a with b and c`: with a product, what surrounds it."""
    return " and ".join(words) if len(words) < 3 else f"{words[0]} with {' and '.join(words[1:])}"


def _weighed(term: Term) -> str:
    return term.words if term.weight == 1.0 else f"{term.words} ({term.weight:g})"


def _listed(texts: Sequence[str]) -> str:
    """Return the texts apart by semicolons; long lists end in how many more there are."""
    shown = [" ".join(text.split())[:60] for text in texts[:_LISTED]]
    more = [f"and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    return "; ".join([*shown, *more])
