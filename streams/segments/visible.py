"""Finds the visible things that an event's text names.

A word that is often a verb counts as a thing only where it cannot be one: in the plural inside a clause, or after an
article, an adjective, a number or a preposition. So "they shop for treats" names treats but no shop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from streams.segments.lexicon import english, foreign, sets
from streams.segments.lexicon.english import Kind
from streams.segments.words import fold

_BEFORE_NOUNS, _BEFORE_VERBS, _MEDIA = map(sets.words, ("before_nouns", "before_verbs", "media"))
_CONTAINERS, _PREPOSITIONS, _COLOURS = map(sets.words, ("containers", "prepositions", "colours"))
_FOLLOWERS, _NEVER_SPECIFYING = map(sets.words, ("followers", "never_specifying"))
_OWNERS = frozenset({"the", "a", "an", "their", "his", "her", "our", "my", "your", "its"})
_DESCRIBING = sets.words("describing") | _COLOURS
_SPECIFYING: frozenset[Kind] = frozenset({"thing", "food", "matter", "plant", "animal"})
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_CLAUSE_END = re.compile(r"[.,;:!?()\n\u2013\u2014/]+")


@dataclass(frozen=True)
class Thing:
    """A visible thing. words: English, in the number of the text. lemma: equal for singular and plural.

    original: the words of the text. translated: the text was not English. count: how often the text names it.
    """

    words: str
    lemma: str
    kind: Kind
    original: str
    translated: bool = False
    count: int = 1

    def same_as(self, other: Thing) -> bool:
        """Return whether both name the same thing, one of them perhaps more exactly: `boots` and `hiking boots`."""
        shorter, longer = sorted((self.lemma, other.lemma), key=len)
        return shorter == longer or longer.endswith(f" {shorter}")


def as_thing(term: str, original: str | None = None, *, translated: bool = False) -> Thing | None:
    """Return the thing that an English term names, None if it names nothing visible.

    The noun is the end of the term, or of the part before a preposition. Words before it stay if a picture can show
    them. A `coffee enthusiast` shows coffee.
    """
    words, text = fold(term.lower()).split()[: 4 * english.MAX_WORDS], original or term
    if len(words) > 1 and words[-1] in _FOLLOWERS:
        words = words[:-1]
    if english.noun(" ".join(words)) is None:
        breaks = [number for number, word in enumerate(words) if number and word in _PREPOSITIONS]
        head = _last_noun(words[: breaks[0]], text) if breaks else None
        if head is not None:
            return replace(head, translated=translated)
    thing = _last_noun(words, text)
    return thing and replace(thing, translated=translated)


def _last_noun(words: Sequence[str], original: str) -> Thing | None:
    for start in range(max(0, len(words) - english.MAX_WORDS), len(words)):
        found = english.noun(" ".join(words[start:]))
        if found is not None:
            return _thing(words, start, found, original)
    return None


def without_describing(lemma: str) -> str:
    """Return a lemma without colours and the like at its start: `leather handbag` becomes `handbag`."""
    words = lemma.split()
    while len(words) > 1 and words[0] in _DESCRIBING:
        words = words[1:]
    return " ".join(words)


def things_in(prose: str, language: str) -> list[Thing]:
    """Return the things that a text names, each once, in the order of the text."""
    clauses = (_WORD.findall(clause) for clause in _CLAUSE_END.split(prose))
    read = _english_things if language.startswith("en") else _foreign_things
    once: dict[str, list[Thing]] = {}
    for clause in clauses:
        for thing in read(clause, language):
            once.setdefault(thing.lemma, []).append(thing)
    return [replace(same[0], count=len(same)) for lemma, same in once.items() if lemma not in _MEDIA]


def _foreign_things(words: Sequence[str], language: str) -> Iterator[Thing]:
    table, position = foreign.table(language), 0
    while position < len(words):
        term, count = table.longest_term(words[position : position + foreign.MAX_WORDS]) or ("", 1)
        thing = as_thing(term, " ".join(words[position : position + count]), translated=True) if term else None
        if thing is not None:
            yield thing
        position += count if thing is not None else 1


def _english_things(words: Sequence[str], _: str) -> Iterator[Thing]:
    lower = [word.lower() for word in words]
    position = 0
    while position < len(lower):
        found = english.longest_noun(lower[position : position + english.MAX_WORDS])
        if found is None or not _is_noun(lower, position, found[0]):
            position += 1
            continue
        end = position + found[1]
        if not _specifies_next(lower, end) and not _contains_next(lower, position, end):
            yield _thing(lower[:end], position, found[0], " ".join(words[position:end]))
        position = end


def _thing(words: Sequence[str], start: int, noun: english.Noun, original: str) -> Thing:
    """Return the thing at the end of `words`, which begins at `start`, with the words before that specify it."""
    first = start
    while first and start - first < 2 and _specifies(words[first - 1]):
        first -= 1
    before = " ".join(words[first:start])
    lemma = f"{before} {noun.words}".strip().lower()
    if first > 1 and words[first - 1] == "of" and _is_container(words[first - 2]):
        first -= 2
    text = " ".join(words[first:])
    return Thing(noun.words if text == noun.words.lower() else text, lemma, noun.kind, original)


def _specifies(word: str) -> bool:
    """Return whether a word before a noun tells which one: a colour, or something visible (`rain jacket`)."""
    noun = english.noun(word)
    visible = noun is not None and not noun.often_verb and noun.kind in _SPECIFYING
    return word in _DESCRIBING or (visible and word not in _BEFORE_NOUNS | _NEVER_SPECIFYING)


def _specifies_next(words: Sequence[str], position: int) -> bool:
    """Return whether another noun follows at once, so that the one before only specifies it."""
    following = english.longest_noun(words[position : position + english.MAX_WORDS])
    return following is not None and not following[0].often_verb and words[position] not in _DESCRIBING


def _contains_next(words: Sequence[str], position: int, end: int) -> bool:
    """Return whether the word is a container of the thing that follows: `cup` in `cup of coffee`."""
    is_container = (
        end - position == 1 and end + 1 < len(words) and words[end] == "of" and _is_container(words[position])
    )
    return is_container and english.longest_noun(words[end + 1 : end + 1 + english.MAX_WORDS]) is not None


def _is_container(word: str) -> bool:
    return not _CONTAINERS.isdisjoint((word, *english.singulars(word)))


def _is_noun(words: Sequence[str], position: int, noun: english.Noun) -> bool:
    before = words[position - 1] if position else ""
    starts = not before or before in _BEFORE_VERBS
    if starts and words[position] == noun.words and not _OWNERS.isdisjoint(words[position + 1 : position + 2]):
        return False  # "wax their surfboards"
    if not noun.often_verb:
        return True
    if words[position] != noun.words and words[position].endswith("s"):
        return not starts
    return before in _BEFORE_NOUNS
