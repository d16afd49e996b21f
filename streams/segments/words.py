"""Cleans the words of an event for a prompt and translates Polish words into English.

CLIP's text encoders were trained on English text. A term's own English form takes precedence. Otherwise the glossary of
everyday advertising terms (`glossary_pl.tsv`) translates it. A Polish term without either keeps its letters but loses
its diacritics, since the model may recognise a brand or loan word; the rationale lists it as untranslated.

All text of an event whose language is Polish counts as Polish. In an English event, a term counts as Polish if it has
Polish letters or is a glossary form that is not an English word.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

TermOrigin = Literal["given", "glossary", "passed", "folded", "own"]

_FOLDED = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "ø": "o", "ß": "ss", "æ": "ae", "œ": "oe"})
_PUNCTUATION_IN_WORDS = "'-%."
_POLISH_LETTERS = frozenset("ąćęłńóśźż")
_LONGEST_ENTRY = 3  # words of the longest glossary entry that is matched in prose
_CACHED_LENGTH, _CACHE_SIZE = 100, 8192  # characters of a cached text, cached texts: segments share many words


@dataclass(frozen=True)
class Term:
    """A piece of a prompt. origin: how `words` came from `original` (`own`: it was English already)."""

    words: str
    original: str
    origin: TermOrigin = "own"
    weight: float = 1.0

    @property
    def key(self) -> str:
        """A key that is equal for terms that differ only in case and diacritics."""
        return fold(self.words).casefold()


def clean(text: str) -> str:
    """Return the words of `text`, or an empty string if it has none.

    Keeps letters, digits and `_PUNCTUATION_IN_WORDS`; replaces everything else with a space: emoji, control
    characters, and the brackets, colons and commas that have a meaning in prompts. Compatibility forms (fullwidth and
    "fancy" letters) become plain letters.
    """
    return _cached_clean(text) if len(text) <= _CACHED_LENGTH else _uncached_clean(text)


def _uncached_clean(text: str) -> str:
    spaced = "".join(
        _clean_character(character) for character in unicodedata.normalize("NFKC", text.replace("&", " and "))
    )
    words = (word.strip(_PUNCTUATION_IN_WORDS.replace("%", "")) for word in spaced.split())
    joined = " ".join(word for word in words if any(character.isalnum() for character in word))
    return joined if any(character.isalpha() for character in joined) or re.search(r"\d{2}", joined) else ""


_cached_clean = lru_cache(_CACHE_SIZE)(_uncached_clean)


@lru_cache(_CACHE_SIZE)
def _clean_character(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "L" or category in {"Nd", "Mc"} or (category == "Mn" and not _is_selector(character)):
        return character
    return {"’": "'", "‑": "-", "–": "-"}.get(character, character if character in _PUNCTUATION_IN_WORDS else " ")


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def fold(text: str) -> str:
    """Return `text` without diacritics: `żółty` becomes `zolty`."""
    return text if text.isascii() else _cached_fold(text)


@lru_cache(_CACHE_SIZE)
def _cached_fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.translate(_FOLDED))
    return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")


def is_polish(text: str, language: str) -> bool:
    """Return whether `text` is Polish by the event's `language` or, in an English event, by its letters or words."""
    if not language.startswith("en"):
        return language.startswith("pl")
    words = clean(text).casefold()
    return not _POLISH_LETTERS.isdisjoint(words) or words in _unambiguous_forms()


def translate(text: str, english: str | None, language: str, weight: float = 1.0) -> Term | None:
    """Return the term for a prompt, or None if `text` has no words."""
    if english is not None and (words := clean(english)):
        return Term(words, text, "given", weight)
    words = clean(text)
    if not words:
        return None
    polish = is_polish(words, language)
    translation = glossary().get(_glossary_key(words)) if polish else None
    if translation is not None:
        return Term(translation, text, "glossary", weight)
    if (language.startswith("en") and not polish) or _english_words().issuperset(words.lower().split()):
        return Term(words, text, "own", weight)
    plain = fold(words) if polish else words
    return Term(plain, text, "passed" if plain == words else "folded", weight)


def visible_things(prose: str, language: str) -> list[Term]:
    """Return the visible things that a text names, in order: English words, and Polish terms of the glossary."""
    words = clean(prose).split()
    polish_words = sum(word.casefold() in _unambiguous_forms() for word in set(words))
    # one such word may be a name, as in Las Vegas
    polish = is_polish(prose, language) or (language.startswith("en") and polish_words > 1)
    found: dict[str, Term] = {}
    position = 0
    while position < len(words):
        term = _thing_at(words[position : position + _LONGEST_ENTRY], polish=polish)
        if term is not None:
            found.setdefault(term.key, term)
        position += len(term.original.split()) if term else 1
    return list(found.values())


def _thing_at(words: list[str], *, polish: bool) -> Term | None:
    """Return the thing that the first word names, or the first words together; the longest match wins."""
    for count in range(len(words) if polish else 0, 0, -1):
        phrase = " ".join(words[:count])
        english = glossary().get(_glossary_key(phrase))
        if english is not None and not abstract_words().issuperset(english.split()):
            return Term(english, phrase, "glossary")
    word = words[0].lower()
    return Term(word, word) if word in visible_words() else None


@cache
def glossary() -> dict[str, str]:
    """Return the English term of each Polish term. Keys are lower case without diacritics."""
    return {_glossary_key(polish.rstrip("*")): english for polish, english in _polish_forms()}


@cache
def _polish_forms() -> tuple[tuple[str, str], ...]:
    """Return every Polish form exactly as in the table, with its English term."""
    table = files("streams.segments").joinpath("glossary_pl.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return tuple((polish, english) for forms, english in rows for polish in forms.split("|"))


@cache
def _unambiguous_forms() -> frozenset[str]:
    """Return the Polish forms that are not English words. The table marks the others with `*` (`pies`, `but`)."""
    return frozenset(polish.casefold() for polish, _ in _polish_forms() if not polish.endswith("*")) - _english_words()


@cache
def visible_words() -> frozenset[str]:
    """Return the English words for visible things: the one-word terms of the glossary."""
    return frozenset(english for english in glossary().values() if " " not in english) - abstract_words()


@cache
def _english_words() -> frozenset[str]:
    return abstract_words().union(*(english.split() for english in glossary().values()))


@cache
def abstract_words() -> frozenset[str]:
    """Return English words for ideas that a picture cannot show, such as `lifestyle`."""
    lines = files("streams.segments").joinpath("abstract_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _glossary_key(words: str) -> str:
    return fold(words).casefold()
