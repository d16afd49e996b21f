"""The things that a family of weights can draw, and the nearest of them to a thing that an event names.

Small families draw a limited number of things. Their card lists them (`vocabulary` in `family.json`). Large models have
no such list and draw whatever a prompt names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from streams.segments.lexicon import english
from streams.segments.visible import Thing, without_describing

Names = Mapping[str, Sequence[str]]
"""The names of the things that a family draws, each with further words that mean or suggest it."""


def names_digest(names: Names) -> str:
    """Return a digest of the names and words: they decide prompts."""
    listed = json.dumps({name: list(words) for name, words in names.items()})
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


class Vocabulary:
    """The things that a family draws, by lemma."""

    def __init__(self, names: Names) -> None:
        self._names: dict[str, str] = {}
        self._suggested: dict[str, str] = {}
        self._narrower: dict[str, str] = {}
        for name, words in names.items():
            self._names.setdefault(_lemma(name), name)
            for word in words:
                self._suggested.setdefault(_lemma(word), name)
            noun = english.noun(_lemma(name))
            for broader in noun.broader[:1] if noun else ():
                self._narrower.setdefault(broader, name)

    def nearest(self, thing: Thing) -> str | None:
        """Return the name of the nearest thing that the family draws, or None if nothing is near.

        It looks for the same thing, for a name that the thing suggests (`espresso` suggests `coffee`), for a broader
        thing (a `poodle` is a `dog`) and for a narrower one (a `sunflower` is a `flower`).
        """
        noun = english.noun(thing.lemma)
        lemmas = list(_less_specific(thing.lemma))
        exact = [thing.lemma] if noun else lemmas
        plain = [thing.lemma, without_describing(thing.lemma)]
        broader = (noun or english.noun(lemmas[-1]) or english.Noun("", "thing")).broader[:2]
        if thing.kind == "place":  # a park suggests a ferris wheel, but is none
            return next((self._names[word] for word in (*exact, *broader) if word in self._names), None)
        written = [_lemma(thing.words)]  # a `carton of milk` is no glass of milk
        steps = [
            (self._names, written),
            (self._suggested, written),
            (self._names, exact),
            (self._suggested, plain),
            (self._names, broader),
            (self._narrower, plain),
        ]
        return next((table[word] for table, words in steps for word in words if word in table), None)


def _lemma(name: str) -> str:
    """Return a name in lower case with its last word in the singular."""
    lower = name.lower()
    noun = english.noun(lower)
    if noun is not None:
        return noun.words.lower()
    head, space, last = lower.rpartition(" ")
    noun = english.noun(last)
    return f"{head}{space}{noun.words.lower() if noun else last}"


def _less_specific(lemma: str) -> Iterator[str]:
    """Yield a lemma, and then what remains after each of its first words is dropped: `rain jacket`, `jacket`."""
    words = lemma.split()
    yield from (" ".join(words[start:]) for start in range(len(words)))
