"""The things that a family of weights can draw, and the nearest of them to a thing that an event names.

Small families know a limited number of things. Their card lists them (`vocabulary` in `family.json`). Large models have
no such list and draw whatever a prompt names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from streams.segments.lexicon import english
from streams.segments.visible import Thing


class Vocabulary:
    """The names of the things that a family draws. names: each name with further words that mean or suggest it."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._names = {_lemma(name): name for name in names}
        self._suggested: dict[str, str] = {}
        self._narrower: dict[str, str] = {}
        for name, words in names.items():
            for word in words:
                self._suggested.setdefault(_lemma(word), name)
            noun = english.noun(_lemma(name))
            for broader in noun.broader if noun else ():
                self._narrower.setdefault(broader, name)

    def nearest(self, thing: Thing) -> str | None:
        """Return the name of the nearest thing that the family draws, or None if nothing is near.

        It looks for the same thing, for a broader one (`puppy` is a `dog`), for a narrower one (a `rose` is a
        `flower`), and for a name that the thing suggests (`dumbbell` suggests `weightlifter`).
        """
        noun = english.noun(thing.lemma)
        lemmas = [thing.lemma] if noun else list(_less_specific(thing.lemma))
        noun = noun or english.noun(lemmas[-1])
        broader = noun.broader[:2] if noun else ()
        steps = [(self._names, lemmas), (self._names, broader)]
        if thing.kind != "place":  # a park suggests a ferris wheel, but is none
            steps += [(self._narrower, lemmas), (self._suggested, lemmas)]
        return next((table[word] for table, words in steps for word in words if word in table), None)


def _lemma(name: str) -> str:
    """Return a name in lower case with its last word in the singular."""
    lower = name.lower()
    noun = english.noun(lower)
    if noun is not None:
        return noun.words
    head, space, last = lower.rpartition(" ")
    noun = english.noun(last)
    return f"{head}{space}{noun.words if noun else last}"


def _less_specific(lemma: str) -> Iterator[str]:
    """Yield a lemma, and then what remains after each of its first words is dropped: `rain jacket`, `jacket`."""
    words = lemma.split()
    yield from (" ".join(words[start:]) for start in range(len(words)))
