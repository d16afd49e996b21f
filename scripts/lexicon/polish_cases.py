"""Inflected forms of Polish nouns that simplemma lacks: it leads `namioty` to `namiota`, which is no word."""

from __future__ import annotations

from collections.abc import Iterator

import simplemma
import wordfreq

_CONSONANT = ("a", "u", "owi", "em", "iem", "ie", "y", "i", "e", "ów", "om", "ami", "ach")
_VOWEL = {
    "a": ("y", "i", "ie", "ę", "ą", "o", "e", "", "om", "ami", "ach"),
    "o": ("a", "u", "em", "ie", "", "om", "ami", "ach"),
    "e": ("a", "u", "em", "", "om", "ami", "ach"),
}
RARE = 1.5  # Zipf frequency below which wordfreq's list ends in misprints
ENGLISH = 3.0  # Zipf frequency in English from which a word is an English one


def forms(noun: str) -> set[str]:
    """Return the words that are in use and that consist of the noun's stem and a case ending.

    A word counts if simplemma does not know it, or takes it for a form of a word that nobody uses, and if it is no
    English word (`mode` is no form of `moda`).
    """
    endings = _VOWEL.get(noun[-1:], _CONSONANT)
    stem = noun[:-1] if noun[-1:] in _VOWEL else noun
    return {stem + ending for ending in endings if len(stem) > 2 and _is_unclaimed(stem + ending)}


def _is_unclaimed(word: str) -> bool:
    if wordfreq.zipf_frequency(word, "pl") < RARE or wordfreq.zipf_frequency(word, "en") >= ENGLISH:
        return False
    lemma = simplemma.lemmatize(word, lang="pl").lower()
    return (lemma == word and not simplemma.is_known(word, lang="pl")) or wordfreq.zipf_frequency(lemma, "pl") == 0


def missing(lemmas: set[str], known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each form with its lemma, without those that are known already."""
    for lemma in sorted(lemmas):
        yield from ((form, lemma) for form in sorted(forms(lemma)) if form not in known and form not in lemmas)
