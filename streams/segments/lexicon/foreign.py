"""Terms of other languages and the English terms for them. The tables stem from CLDR and this project (see NOTICE).

A table holds lemmas. The inflected forms beside them lead to the lemmas: `kiełbasę` leads to `kiełbasa`, "sausage".
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MAX_WORDS = 4


@dataclass(frozen=True)
class Table:
    """The terms of one language. terms: lemmas joined by spaces, to English. forms: inflected form to lemma."""

    terms: dict[str, str]
    forms: dict[str, str]

    def lemmas(self, words: Sequence[str]) -> str:
        """Return the lemmas of the words, joined by spaces."""
        return " ".join(self.forms.get(word, word) for word in map(str.lower, words))

    def longest_term(self, words: Sequence[str]) -> tuple[str, int] | None:
        """Return the English term for the longest known term at the start of `words`, and its number of words."""
        for count in range(min(MAX_WORDS, len(words)), 0, -1):
            if (english := self.terms.get(self.lemmas(words[:count]))) is not None:
                return english, count
        return None


_EMPTY = Table({}, {})


@cache
def table(language: str) -> Table:
    """Return the table of a language (BCP 47); an empty one if there is none."""
    path = files("streams.segments.lexicon").joinpath(f"terms/{language.partition('-')[0].lower()}.tsv.gz")
    if not path.is_file():
        return _EMPTY
    terms, _, forms = gzip.decompress(path.read_bytes()).decode().partition("\n\n")
    return Table(_pairs(terms), _pairs(forms))


def _pairs(lines: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in lines.splitlines())
