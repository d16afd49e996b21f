"""The table of English nouns: WordNet's visible ones that are in common use, and terms chosen by hand."""

from __future__ import annotations

from pathlib import Path

import wordfreq

from scripts.lexicon.wordnet import WordNet
from streams.segments.lexicon.english import singulars

_FOLDER = Path(__file__).parent
_COMMON, _RARE = 3.35, 2.4
"""Zipf frequencies (van Heuven et al. 2014). Above the first, most WordNet nouns are too general for a picture."""
_OWN_MEANING = {
    "briefs", "chains", "clothes", "dates", "glasses", "irons", "jeans", "pants", "scales", "shorts", "spectacles",
    "stairs", "sweets", "woods",
}  # fmt: skip
"""Plurals that name other things than their singulars."""
_AUTOMATIC = {"thing", "food", "animal", "plant", "place"}


def nouns(net: WordNet, names: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Return the kind of each noun or term. names: see `translations.english_names`."""
    common = _chosen_common()
    found = {}
    for lemma in net.lemmas:
        kind = net.kind(lemma)
        frequency = wordfreq.zipf_frequency(lemma, "en")
        if kind and (lemma in common or (kind in _AUTOMATIC and _RARE <= frequency < _COMMON and lemma.isalpha())):
            found[lemma] = kind
    found |= {lemma: "thing" for lemma in common if lemma not in found}
    return _singular(dict(names.values()) | found | _chosen_extra())


def _singular(nouns: dict[str, str]) -> dict[str, str]:
    """Return the nouns with the last word of each one in the singular, if the table has that word."""
    found: dict[str, str] = {}
    for words, kind in nouns.items():
        head, space, last = words.rpartition(" ")
        singular = next((form for form in singulars(last) if form in nouns and words not in _OWN_MEANING), last)
        found.setdefault(head + space + singular, kind)
    return found


def _chosen_common() -> set[str]:
    lines = (_FOLDER / "english_common.txt").read_text(encoding="utf-8").splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}


def _chosen_extra() -> dict[str, str]:
    lines = (_FOLDER / "english_extra.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if not line.startswith("#"))
