"""Builds a segment's prompt: the most important terms first, within the context length of the text encoder.

Template 2: `an advertising photo of {the product,} {two heaviest things}, {further terms}, {brand features},
{segment name}, soft light`. The same event always gives the same prompt. The rationale lists for each field the words
that the prompt uses, translates or leaves out, and why (`streams.segments.words`).
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from schemas.events import Phrase, SegmentUpdated
from streams.failures import InvalidEvent
from streams.requests import Prompt
from streams.segments.rationale import FieldTerms, unused_fields
from streams.segments.token_count import TokenCounter
from streams.segments.words import Term, abstract_words, clean, glossary, is_polish, visible_things

TEMPLATE_VERSION = 2
_OPENING = "an advertising photo of"
_CLOSING = "soft light"
_FURTHER = {"keywords": 6, "brand.features": 4, "interests": 3, "description": 3}  # more terms dilute the picture


class Prompter:
    """Composes prompts. tokenizer: see `TokenCounter`. max_tokens: context length of the text encoder (77 for CLIP)."""

    def __init__(self, tokenizer: str, max_tokens: int, negative_prompt: str) -> None:
        self._tokens = TokenCounter(tokenizer)
        self._max_tokens = max_tokens
        self._negative = negative_prompt

    @cached_property
    def recipe_settings(self) -> dict[str, str | int]:
        """The settings that decide a prompt apart from the event and the tokenizer; part of the recipe."""
        digest = hashlib.sha256(json.dumps(glossary(), sort_keys=True).encode()).hexdigest()[:12]
        return {"template": TEMPLATE_VERSION, "glossary": digest, "negative_prompt": self._negative}

    def compose(self, event: SegmentUpdated, subject: str | None = None) -> Prompt:
        """Return the prompt of a segment. subject: the product's name in the prompt (`models.briefs.subject`).

        Raises InvalidEvent if no field contains a usable word.
        """
        parts = _PromptParts.from_event(event, subject)
        if not parts.main_things:
            raise InvalidEvent(field="name", rule="holds no word that can go into a prompt")
        text, omitted = self._fit(parts)
        tokens = self._tokens.count(text)
        rationale = (
            f"template {TEMPLATE_VERSION}",
            *_product_line(event, subject),
            *parts.rationale(omitted),
            *unused_fields(event),
            f"{tokens} of {self._max_tokens} tokens",
        )
        return Prompt(text, self._negative, rationale, tokens, TEMPLATE_VERSION)

    def _fit(self, parts: _PromptParts) -> tuple[str, list[Term]]:
        """Return the text of the most important terms that fit, and the omitted terms."""
        whole = parts.text(list(parts.by_importance()), _CLOSING)
        if self._fits(whole):
            return whole, []
        chosen: list[Term] = []
        omitted: list[Term] = []
        for term in parts.by_importance():
            if self._fits(parts.text([*chosen, term])):
                chosen.append(term)
            elif not chosen:
                chosen.append(self._shorten(term, parts))
            else:
                omitted.append(term)
        with_closing = parts.text(chosen, _CLOSING)
        return with_closing if self._fits(with_closing) else parts.text(chosen), omitted

    def _shorten(self, term: Term, parts: _PromptParts) -> Term:
        """Return the term cut to as many words as fit, or to the first letters if not even one word fits."""
        words = term.words.split()
        pieces = [words[0][:count] for count in range(1, len(words[0]))]
        pieces += [" ".join(words[:count]) for count in range(1, len(words) + 1)]

        def too_long(piece: str) -> bool:
            return not self._fits(parts.text_about(replace(term, words=piece)))

        longest = bisect_left(pieces, True, lo=1, key=too_long) - 1
        shorter = replace(term, words=pieces[longest])
        parts.replace(term, shorter)
        return shorter

    def _fits(self, text: str) -> bool:
        return self._tokens.count(text) <= self._max_tokens


@dataclass
class _PromptParts:
    """The terms of an event by template slot. main_things: the subjects of the picture, the product first."""

    main_things: list[Term]
    further: list[Term]
    features: list[Term]
    name: list[Term]
    fields: list[FieldTerms]

    @classmethod
    def from_event(cls, event: SegmentUpdated, subject: str | None) -> _PromptParts:
        """Sort the terms of an event's fields into the template slots."""
        language, seen = event.language, set[str]()
        weighted = ((keyword.term, keyword.en, keyword.weight) for keyword in event.keywords)
        brand_features = _unweighted(event.brand.features if event.brand else ())
        keywords = FieldTerms("keywords").add_terms(weighted, language, seen)
        features = FieldTerms("brand.features").add_terms(brand_features, language, seen)
        name = FieldTerms("name").add_terms([(event.name, event.name_en, 1.0)], language, seen)
        interests = FieldTerms("interests").add_terms(_unweighted(event.interests), language, seen)
        description = _description_terms(event, seen)
        things = _main_things(keywords.terms, interests.terms, description.terms, name.terms or features.terms)
        product = [Term(subject, subject)] if subject else []
        for group in (keywords, interests, description, features):
            main = [term for term in group.terms if term in things]
            group.terms = main + _without(things, group)
            group.limit_terms(len(main) + _FURTHER[group.name])
        return cls(
            main_things=[*product, *things],
            further=_without(things, keywords, interests, description),
            features=_without(things, features),
            name=_without(things, name),
            fields=[keywords, features, name, interests, description],
        )

    def by_importance(self) -> list[Term]:
        """Return every term, the most important first: main things, segment name, brand features, further terms."""
        return [*self.main_things, *self.name, *self.features, *self.further]

    def text(self, chosen: Sequence[Term], closing: str = "") -> str:
        """Return the template filled with the chosen terms."""
        things = [term.words for term in self.main_things if term in chosen]
        others = [term.words for term in (*self.further, *self.features, *self.name) if term in chosen]
        return ", ".join([f"{_OPENING} {_join_things(things)}", *others, *([closing] if closing else [])])

    def text_about(self, thing: Term) -> str:
        """Return the template filled with one thing alone."""
        return f"{_OPENING} {thing.words}"

    def replace(self, old: Term, new: Term) -> None:
        """Replace the main thing `old` with `new`, in the rationale too."""
        self.main_things = [new if term is old else term for term in self.main_things]
        for group in self.fields:
            group.terms = [new if term is old else term for term in group.terms]

    def rationale(self, omitted: Sequence[Term]) -> list[str]:
        """Return the rationale of each field. omitted: terms that did not fit into the prompt."""
        return [line for group in self.fields for line in group.lines(omitted)]


def _without(things: list[Term], *groups: FieldTerms) -> list[Term]:
    return [term for group in groups for term in group.terms if term not in things]


def _main_things(*groups: list[Term]) -> list[Term]:
    """Return the two subjects of the picture: the first concrete terms, in order of the groups.

    The last group is the fallback if the others are empty.
    """
    candidates = [term for group in groups[:-1] for term in group]
    concrete = [term for term in candidates if not abstract_words().issuperset(term.words.lower().split())]
    return (concrete or candidates or groups[-1])[:2]


def _description_terms(event: SegmentUpdated, seen: set[str]) -> FieldTerms:
    """Return the visible things that the description names. Whole sentences would not help a picture."""
    terms = FieldTerms("description")
    english = clean(event.description_en or "")
    language = "en" if english else event.language
    prose = english or event.description
    foreign = language[:2] not in {"en", "pl"}
    things = [] if foreign else visible_things(prose, language)
    seen_words = {word for key in seen for word in key.split()}
    terms.terms = [thing for thing in things if not seen_words.issuperset(thing.key.split())]
    terms.add_note("dropped, said before", [thing.original for thing in things if thing not in terms.terms])
    if prose and not things:
        terms.notes.append(f"description: left out, {_no_things_reason(prose, language, foreign=foreign)}")
    return terms


def _no_things_reason(prose: str, language: str, *, foreign: bool) -> str:
    if foreign:
        return f"its language is {language} and there is no description_en"
    if is_polish(prose, language):
        return "it is Polish without description_en, and the glossary knows nothing to be seen in it"
    return "it names nothing to be seen"


def _product_line(event: SegmentUpdated, subject: str | None) -> list[str]:
    return [f"product_id: used: {subject}"] if subject and event.product_id else []


def _unweighted(phrases: Iterable[Phrase]) -> list[tuple[str, str | None, float]]:
    return [(phrase.term, phrase.en, 1.0) for phrase in phrases]


def _join_things(things: list[str]) -> str:
    """Return `a`, `a and b`, or `a with b and c` for a product with two things around it."""
    return " and ".join(things) if len(things) < 3 else f"{things[0]} with {' and '.join(things[1:])}"
