"""Finds the visible things that an event's text names.

A word that is often a verb counts as a thing only where it cannot be one: in the plural inside a clause, or after an
article, an adjective, a number or a preposition. So "they shop for treats" names treats but no shop.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from streams.segments.lexicon import english, foreign
from streams.segments.lexicon.english import Kind

_WORDS = {
    name: frozenset(words.split())
    for name, words in tomllib.loads(
        files("streams.segments.lexicon").joinpath("english_words.toml").read_text(encoding="utf-8")
    ).items()
}
_BEFORE_NOUNS, _BEFORE_VERBS, _MEDIA = _WORDS["before_nouns"], _WORDS["before_verbs"], _WORDS["media"]
COLOURS = _WORDS["colours"]
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_CLAUSE_END = re.compile(r"[.,;:!?()\n\u2013\u2014/]+")


@dataclass(frozen=True)
class Thing:
    """A visible thing. words: English, in the number of the text. lemma: equal for singular and plural.

    original: the words of the text. translated: the text was not English.
    """

    words: str
    lemma: str
    kind: Kind
    original: str
    translated: bool = False


def as_thing(term: str, original: str | None = None, *, translated: bool = False) -> Thing | None:
    """Return the thing that an English term names, None if it names nothing visible.

    The noun is the end of the term. Words before it stay if they name a colour or something visible themselves.
    """
    words = term.lower().split()
    for start in range(len(words)):
        found = english.longest_noun(words[start:])
        if found is not None and start + found[1] == len(words):
            return _thing(words, start, found, original or term, translated=translated)
    return None


def things_in(prose: str, language: str) -> list[Thing]:
    """Return the things that a text names, each once, in the order of the text."""
    clauses = (_WORD.findall(clause) for clause in _CLAUSE_END.split(prose))
    read = _english_things if language.startswith("en") else _foreign_things
    once: dict[str, Thing] = {}
    for clause in clauses:
        for thing in read(clause, language):
            once.setdefault(thing.lemma, thing)
    return [thing for thing in once.values() if thing.lemma not in _MEDIA]


def _foreign_things(words: Sequence[str], language: str) -> Iterator[Thing]:
    table, position = foreign.table(language), 0
    while position < len(words):
        term, count = table.longest_term(words[position:]) or ("", 1)
        thing = as_thing(term, " ".join(words[position : position + count]), translated=True)
        if thing is not None:
            yield thing
        position += count


def _english_things(words: Sequence[str], _: str) -> Iterator[Thing]:
    lower = [word.lower() for word in words]
    position = 0
    while position < len(lower):
        found = english.longest_noun(lower[position:])
        if found is None or not _is_noun(lower, position, found[0]):
            position += 1
            continue
        if not _specifies_next(lower, position + found[1]):
            original = " ".join(words[position : position + found[1]])
            yield _thing(lower[: position + found[1]], position, found, original)
        position += found[1]


def _thing(
    words: Sequence[str], start: int, found: tuple[english.Noun, int], original: str, *, translated: bool = False
) -> Thing:
    """Return the thing at the end of `words`, which begins at `start`, with the words before that specify it."""
    noun, first = found[0], start
    while first and start - first < 2 and _specifies(words[first - 1]):
        first -= 1
    before = " ".join(words[first:start])
    text, lemma = " ".join(words[first:]), f"{before} {noun.words}".strip()
    return Thing(text, lemma, noun.kind, original, translated)


def _specifies(word: str) -> bool:
    """Return whether a word before a noun tells which one: a colour, or something visible (`rain jacket`)."""
    noun = english.noun(word)
    visible = noun is not None and not noun.often_verb and noun.kind in {"thing", "food", "matter", "plant", "animal"}
    return word in COLOURS or (visible and word not in _BEFORE_NOUNS)


def _specifies_next(words: Sequence[str], position: int) -> bool:
    """Return whether another noun follows at once, so that the one before only specifies it."""
    following = english.longest_noun(words[position:])
    return following is not None and not following[0].often_verb and words[position] not in COLOURS


def _is_noun(words: Sequence[str], position: int, noun: english.Noun) -> bool:
    if not noun.often_verb:
        return True
    before = words[position - 1] if position else ""
    if words[position] != noun.words and words[position].endswith("s"):
        return bool(before) and before not in _BEFORE_VERBS
    return before in _BEFORE_NOUNS
