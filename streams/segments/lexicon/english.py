"""English nouns for visible things. The table stems from WordNet (see NOTICE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal, cast

Kind = Literal["thing", "food", "animal", "plant", "place", "person", "matter", "body"]
MAX_WORDS = 4
# The rules by which WordNet finds singulars: https://wordnet.princeton.edu/documentation/morphy7wn
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""), ("men", "man"))
_IRREGULAR = {
    "children": "child", "people": "person", "mice": "mouse", "geese": "goose", "teeth": "tooth", "feet": "foot",
    "oxen": "ox", "cacti": "cactus", "larvae": "larva", "antennae": "antenna", "stadia": "stadium",
    "aquaria": "aquarium", "fungi": "fungus", "octopi": "octopus", "hippos": "hippopotamus", "wolves": "wolf",
}  # fmt: skip


@dataclass(frozen=True)
class Noun:
    """A noun or term in the singular.

    often_verb: the word is used as a verb at least half as often (`shop`, `treat`).
    broader: nouns for a broader kind of the same thing, the nearest first: `puppy` has `dog`.
    """

    words: str
    kind: Kind
    often_verb: bool = False
    broader: tuple[str, ...] = ()


def noun(words: str) -> Noun | None:
    """Return the noun for one or more words in lower case, the last one in the singular or plural."""
    head, space, last = words.rpartition(" ")
    for candidate in (last, *singulars(last)):
        if (found := _nouns().get(head + space + candidate)) is not None:
            return found
    return None


def longest_noun(words: Sequence[str]) -> tuple[Noun, int] | None:
    """Return the longest noun at the start of `words`, and the number of words that it takes."""
    for count in range(min(MAX_WORDS, len(words)), 0, -1):
        if (found := noun(" ".join(words[:count]).lower())) is not None:
            return found, count
    return None


@lru_cache(8192)
def singulars(word: str) -> tuple[str, ...]:
    """Return the possible singulars of a word in lower case. None of them needs to exist."""
    if word in _IRREGULAR:
        return (_IRREGULAR[word],)
    if word.endswith("ss") or len(word) < 4:
        return ()
    return tuple(word.removesuffix(ending) + singular for ending, singular in _ENDINGS if word.endswith(ending))


@cache
def _nouns() -> dict[str, Noun]:
    table = files("streams.segments.lexicon").joinpath("english.tsv").read_text(encoding="utf-8")
    found = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            words, kind, verb, broader, *_ = [*line.split("\t"), "", ""]
            found[words.lower()] = Noun(
                words, cast("Kind", kind), verb == "v", tuple(broader.split("|")) if broader else ()
            )
    return found
