"""Reads the terms of an event's fields, in the order in which they may enter the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from schemas.events import Phrase, SegmentUpdated
from streams.segments.lexicon import foreign
from streams.segments.translation import Term, things_in_prose, translate
from streams.segments.visible import Thing
from streams.segments.words import clean

MOST_READ = {"keywords": 40, "interests": 20, "brand.features": 20}

WEIGHTLESS = "left out, the weight is 0"
WORDLESS = "left out, no words (emoji or signs only)"
UNTRANSLATED = "left out, untranslated (give an English form)"
INVISIBLE = "left out, names nothing that a picture can show"
UNREAD = "left out, beyond the {count} most important"
NO_TABLE = "left out, there is no word table for {language} and no description_en"


@dataclass(eq=False)
class Mention:
    """A term of an event field. thing: what it names, if that is visible.

    shown: its words in the prompt, empty if it is left out. fate: the reason why it is left out.
    drawn: the thing that the picture shows. replaced: it is not `thing`, but the nearest that the weights draw.
    """

    field: str
    term: Term
    thing: Thing | None = None
    shown: str = ""
    fate: str = ""
    drawn: Thing | None = None
    replaced: bool = False


def read_mentions(event: SegmentUpdated) -> list[Mention]:
    """Return the terms of keywords, description, interests and name, the most important first.

    The things that a description names come in the order of how often the event names them.
    """
    keywords = sorted(event.keywords, key=lambda keyword: -keyword.weight)  # stable for equal weights
    weighted = list(_terms("keywords", ((word.term, word.en, word.weight) for word in keywords), event.language))
    interests = list(_terms("interests", _unweighted(event.interests), event.language))
    named = _things("name", event.name, event.name_en, event.language)
    described = _things("description", event.description, event.description_en, event.language)
    others = [mention.thing.lemma for mention in (*weighted, *interests, *named) if mention.thing]
    described.sort(key=lambda mention: -mention.thing.count - others.count(mention.thing.lemma) if mention.thing else 0)
    described = described or list(_empty_description(event))
    whole_name = () if named else _terms("name", [(event.name, event.name_en, 1.0)], event.language)
    return [*weighted, *described, *interests, *named, *whole_name]


def read_features(event: SegmentUpdated) -> list[Mention]:
    """Return the features of the brand's advertising, the most important first."""
    features = event.brand.features if event.brand else ()
    return list(_terms("brand.features", _unweighted(features), event.language))


def _terms(field: str, entries: Iterable[tuple[str, str | None, float]], language: str) -> Iterator[Mention]:
    """Yield a mention of each entry (text, English form, weight)."""
    count = MOST_READ.get(field, 1)
    for number, (text, english, weight) in enumerate(entries):
        if number >= count:
            yield Mention(field, Term("", text), fate=UNREAD.format(count=count))
        elif weight == 0:
            yield Mention(field, Term("", text), fate=WEIGHTLESS)
        elif (term := translate(text, english, language, weight)) is None:
            yield Mention(field, Term("", ascii(text)), fate=WORDLESS)
        else:
            thing = term.thing
            yield Mention(field, term, thing, fate="" if thing else INVISIBLE if term.is_english else UNTRANSLATED)


def _things(field: str, text: str, english: str | None, language: str) -> list[Mention]:
    """Return a mention of each thing that a text names."""
    given = clean(english or "")
    things = things_in_prose(english or "", "en") if given else things_in_prose(text, language)
    return [
        Mention(field, Term(thing.words, thing.original, "table" if thing.translated else "own"), thing)
        for thing in things
    ]


def _empty_description(event: SegmentUpdated) -> Iterator[Mention]:
    """Yield a mention of a description that names no thing."""
    text = event.description_en or event.description
    if words := clean(text):
        known = event.description_en or event.language.startswith("en") or foreign.table(event.language).terms
        reason = INVISIBLE if known else NO_TABLE.format(language=event.language)
        start = " ".join(words.split()[:6])
        yield Mention("description", replace(Term(start, text), origin="own" if known else "passed"), fate=reason)


def _unweighted(phrases: Iterable[Phrase]) -> list[tuple[str, str | None, float]]:
    return [(phrase.term, phrase.en, 1.0) for phrase in phrases]
