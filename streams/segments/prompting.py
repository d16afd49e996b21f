"""A segment's description to the prompt of its pictures: the most important first, within the text encoder's length.

Template 2: `an advertising photo of {the product,} {two heaviest things}, {further terms}, {brand features},
{segment name}, soft light`. The same event gives the same prompt. The rationale says, field by field, what was used,
what was left out and why, and how Polish became English (`streams.segments.words`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from schemas.events import Phrase, SegmentUpdated
from streams.failures import InvalidEvent
from streams.requests import Prompt
from streams.segments.rationale import FieldTerms, unused_fields
from streams.segments.token_count import Vocabulary
from streams.segments.words import Term, abstract_words, clean, glossary, is_polish, visible_things

TEMPLATE_VERSION = 2
_OPENING = "an advertising photo of"
_CLOSING = "soft light"
_FURTHER = {"keywords": 6, "brand.features": 4, "interests": 3, "description": 3}  # more would only dilute a picture


class Prompter:
    """Composes prompts. tokenizer: see `Vocabulary`. max_tokens: the text encoder's length, 77 for CLIP."""

    def __init__(self, tokenizer: str, max_tokens: int, negative_prompt: str) -> None:
        self._vocabulary = Vocabulary(tokenizer)
        self._max_tokens = max_tokens
        self._negative = negative_prompt

    @cached_property
    def words(self) -> dict[str, str | int]:
        """What decides prompts apart from events and the tokenizer, for the recipe."""
        spoken = hashlib.sha256(json.dumps(glossary(), sort_keys=True).encode()).hexdigest()[:12]
        return {"template": TEMPLATE_VERSION, "glossary": spoken, "negative_prompt": self._negative}

    def compose(self, event: SegmentUpdated, subject: str | None = None) -> Prompt:
        """Return the prompt of a segment. subject: how the prompt names the product (`models.briefs.subject`).

        Raises InvalidEvent where no field holds a word.
        """
        parts = _Parts.of(event, subject)
        if not parts.heads:
            raise InvalidEvent(field="name", rule="holds no word that a prompt could be made of")
        text, short = self._fitting(parts)
        rationale = (f"template {TEMPLATE_VERSION}", *_of_product(event, subject), *parts.rationale(short))
        tokens = self._vocabulary.count(text)
        rationale = (*rationale, *unused_fields(event))
        rationale = (*rationale, f"{tokens} of {self._max_tokens} tokens")
        return Prompt(text, self._negative, rationale, tokens, TEMPLATE_VERSION)

    def _fitting(self, parts: _Parts) -> tuple[str, list[Term]]:
        """Return the text of as many parts as fit, added by importance, and the terms there was no room for."""
        whole = parts.text(list(parts.by_importance()), _CLOSING)
        if self._fits(whole):
            return whole, []
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
    fields: list[FieldTerms]

    @classmethod
    def of(cls, event: SegmentUpdated, subject: str | None) -> _Parts:
        """Sort an event's fields into places."""
        language, seen = event.language, set[str]()
        keywords = FieldTerms("keywords").take(
            ((one.term, one.en, one.weight) for one in event.keywords), language, seen
        )
        features = FieldTerms("brand.features").take(_even(event.brand.features if event.brand else ()), language, seen)
        name = FieldTerms("name").take([(event.name, event.name_en, 1.0)], language, seen)
        interests = FieldTerms("interests").take(_even(event.interests), language, seen)
        description = _description(event, seen)
        heads = _heads(keywords.terms, interests.terms, description.terms, name.terms or features.terms)
        product = [Term(subject, subject)] if subject else []
        for group in (keywords, interests, description, features):
            ahead = [term for term in group.terms if term in heads]
            rest = [term for term in group.terms if term not in heads]
            group.terms = ahead + rest
            group.keep(len(ahead) + _FURTHER[group.name])
        further = [term for group in (keywords, interests, description) for term in group.terms if term not in heads]
        looks, names = ([term for term in group.terms if term not in heads] for group in (features, name))
        return cls([*product, *heads], further, looks, names, [keywords, features, name, interests, description])

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

    def rationale(self, short: Sequence[Term]) -> list[str]:
        """Return what became of each field: used, translated, untranslated, left out."""
        return [line for group in self.fields for line in group.lines(short)]


def _heads(*groups: list[Term]) -> list[Term]:
    """Return the two things the picture shows: the first concrete terms of the first fields that have any."""
    candidates = [term for group in groups[:-1] for term in group]
    concrete = [term for term in candidates if not abstract_words().issuperset(term.words.lower().split())]
    return (concrete or candidates or groups[-1])[:2]


def _description(event: SegmentUpdated, seen: set[str]) -> FieldTerms:
    """Return the words of the description that name things one can see; prose itself would not help a picture."""
    terms = FieldTerms("description")
    english = clean(event.description_en or "")
    language = "en" if english else event.language
    prose = english or event.description
    foreign = language[:2] not in {"en", "pl"}
    things = [] if foreign else visible_things(prose, language)
    spoken = {word for key in seen for word in key.split()}
    terms.terms = [thing for thing in things if not spoken.issuperset(thing.key.split())]
    terms.note("dropped, said before", [thing.original for thing in things if thing not in terms.terms])
    if prose and not things:
        terms.notes.append(f"description: left out, {_nothing_in(prose, language, foreign=foreign)}")
    return terms


def _nothing_in(prose: str, language: str, *, foreign: bool) -> str:
    if foreign:
        return f"its language is {language} and there is no description_en"
    if is_polish(prose, language):
        return "it is Polish without description_en, and the glossary knows nothing to be seen in it"
    return "it names nothing to be seen"


def _of_product(event: SegmentUpdated, subject: str | None) -> list[str]:
    return [f"product_id: used: {subject}"] if subject and event.product_id else []


def _even(phrases: Iterable[Phrase]) -> list[tuple[str, str | None, float]]:
    return [(phrase.term, phrase.en, 1.0) for phrase in phrases]


def _joined(words: list[str]) -> str:
    """Return `a`, `a and b`, `a with b and c`: with a product, what surrounds it."""
    return " and ".join(words) if len(words) < 3 else f"{words[0]} with {' and '.join(words[1:])}"
