"""Terms of other languages and the English terms for them. The tables stem from CLDR and this project (see NOTICE).

A table holds lemmas. The inflected forms beside them lead to the lemmas: `kiełbasę` leads to `kiełbasa`, "sausage".
So do forms without diacritics: `kielbase`.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from streams.segments.words import fold

MAX_WORDS = 4


@dataclass(frozen=True)
class Table:
    """The terms of one language. terms: lemmas joined by spaces, to English. forms: inflected form to lemma."""

    terms: dict[str, str]
    forms: dict[str, str]

    def has(self, word: str) -> bool:
        """Return whether a word, exactly as written, is a lemma or an inflected form of the table."""
        return word in self.terms or word in self.forms

    def longest_term(self, words: Sequence[str]) -> tuple[str, int] | None:
        """Return the English term for the longest known term at the start of `words`, and its number of words."""
        written = [word.lower() for word in words[:MAX_WORDS]]
        if not written or self._first_words.isdisjoint((written[0], self._lemma(written[0]))):
            return None
        lemmas = [self._lemma(word) for word in written]
        for count in range(len(written), 0, -1):
            english = self.terms.get(" ".join(written[:count])) or self.terms.get(" ".join(lemmas[:count]))
            if english is not None:
                return english, count
        return None

    def _lemma(self, lower: str) -> str:
        return self.forms.get(lower) or (lower if lower in self.terms else self._folded.get(lower, lower))

    @cached_property
    def _first_words(self) -> frozenset[str]:
        return frozenset(words.partition(" ")[0] for words in self.terms)

    @cached_property
    def _folded(self) -> dict[str, str]:
        """The lemma of each form that has diacritics, by the form without them."""
        with_marks = [(form, lemma) for form, lemma in self.forms.items() if not form.isascii()]
        own = [(word, word) for words in self.terms for word in words.split() if not word.isascii()]
        return {fold(form): lemma for form, lemma in (*with_marks, *own)}

    def term(self, words: Sequence[str]) -> str | None:
        """Return the English term for all of the words together, None if the table has none."""
        found = self.longest_term(words)
        return found[0] if found is not None and found[1] == len(words) else None


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
