"""Translates the terms of an event into English, the language that text encoders were trained on.

A term's own English form takes precedence. Otherwise the word table of the language translates it. A term without
either stays as it is, and a Polish one loses its diacritics: the model may recognise a brand or a loan word.

All text of a Polish event counts as Polish. In an English event, a term counts as Polish if it has Polish letters or if
all its words are in the Polish table and none of them is an English word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from streams.segments.lexicon import english, foreign, sets
from streams.segments.visible import Thing, as_thing, things_in
from streams.segments.words import clean, fold

TermOrigin = Literal["given", "table", "passed", "folded", "own"]
_POLISH_LETTERS = frozenset("ąćęłńóśźż")
_LOOKALIKES = sets.words("polish_lookalikes")
_MOST_WORDS_OF_TERM = 12
_MOST_WORDS = 300  # of a description; reading takes time in proportion
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Term:
    """A term of an event in English. origin: how `words` came from `original` (`own`: it was English already)."""

    words: str
    original: str
    origin: TermOrigin = "own"
    weight: float = 1.0

    @property
    def is_english(self) -> bool:
        """Whether the words are English, as far as this service can tell."""
        return self.origin in {"given", "table", "own"}

    @property
    def thing(self) -> Thing | None:
        """The visible thing that the term names."""
        return as_thing(self.words, self.original, translated=self.origin == "table") if self.is_english else None


def translate(text: str, english_form: str | None, language: str, weight: float = 1.0) -> Term | None:
    """Return a text as an English term, None if it has no words."""
    if english_form is not None and (words := clean(english_form)):
        return Term(words, text, "given", weight)
    words = clean(text)
    if not words:
        return None
    polish = language.startswith("en") and is_polish(words)
    source = "pl" if polish else language
    if source.startswith("en"):
        return Term(words, text, "own", weight)
    if (translation := _by_table(words, source)) is not None:
        return Term(translation, text, "table", weight)
    if not polish and _is_english(words, source):
        return Term(words, text, "own", weight)
    plain = fold(words) if source.startswith("pl") else words
    return Term(plain, text, "passed" if plain == words else "folded", weight)


def _by_table(text: str, language: str) -> str | None:
    """Return the translation of the whole text, or of all its words, or of the first thing in it."""
    table, words = foreign.table(language), text.split()
    if len(words) <= foreign.MAX_WORDS:
        single = [table.term([word]) or "" for word in words]
        if whole := table.term(words) or (" ".join(single) if all(single) else ""):
            return whole
    things = things_in(" ".join(words[:_MOST_WORDS_OF_TERM]), language)
    return things[0].words if things else None


def is_polish(text: str) -> bool:
    """Return whether a text of an English event is Polish."""
    words = text.lower().split()
    if not _POLISH_LETTERS.isdisjoint(text.lower()):
        return True
    table = foreign.table("pl")
    return len(words) <= foreign.MAX_WORDS and table.term(words) is not None and all(map(_only_polish, words))


def _only_polish(word: str) -> bool:
    return word not in _LOOKALIKES and foreign.table("pl").has(word) and english.noun(word) is None


def _is_english(text: str, language: str) -> bool:
    """Return whether a term in another language's event consists of English nouns. Its first 4 words count.

    One word is no proof, unless the language has a table of everyday words: the German `Gift` is poison.
    """
    words = text.lower().split()[: english.MAX_WORDS]
    return (len(words) > 1 or language.startswith("pl")) and all(english.noun(word) is not None for word in words)


def things_in_prose(prose: str, language: str) -> list[Thing]:
    """Return the visible things that a description names, in the order of the text."""
    text = _first_words(prose)
    if not language.startswith("en"):
        return things_in(text, language)
    words = {word.lower() for word in clean(text).split()}
    if sum(map(_only_polish, words)) > 1:  # one such word may be a name, as in Las Vegas
        return things_in(text, "pl")
    return things_in(text, "en")


def _first_words(prose: str) -> str:
    for number, word in enumerate(_WORD.finditer(prose), 1):
        if number == _MOST_WORDS:
            return prose[: word.end()]
    return prose
