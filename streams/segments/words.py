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
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

TermOrigin = Literal["given", "glossary", "passed", "folded", "own"]

_FOLDED = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "ø": "o", "ß": "ss", "æ": "ae", "œ": "oe"})
_MOST_MARKS = 30
_LETTER_OR_DIGIT = re.compile(r"\w")  # no "_" is left in cleaned text
_PUNCTUATION_IN_WORDS = "'-%."
_EDGES = _PUNCTUATION_IN_WORDS.replace("%", "")  # removed at the ends of a word
_POLISH_LETTERS = frozenset("ąćęłńóśźż")
_LONGEST_ENTRY = 3  # words of the longest glossary entry that is matched in prose
_ALWAYS_ALLOWED = 200  # characters; a longer text must not grow when it is normalized: one character can become 18
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
    most = max(_ALWAYS_ALLOWED, len(text))
    plain = text.replace("&", " and ").translate(_COMPATIBLE)[:most]  # before any work that grows with the length
    spaced = _normalize("NFC", plain).translate(_CLEAN)
    words = [word.strip(_EDGES) for word in spaced.split()]
    joined = " ".join([word for word in words if _LETTER_OR_DIGIT.search(word)])
    return joined if re.search(r"[^\W\d]|\d{2}", joined) else ""


_cached_clean = lru_cache(_CACHE_SIZE)(_uncached_clean)


def _normalize(form: Literal["NFC", "NFD"], text: str) -> str:
    """Return the text in a Unicode normal form, without marks beyond the 30th in a row (UAX 15, section 13).

    Sorting n marks takes n^2 steps, and no language needs that many on one letter.
    """
    if text.isascii():
        return text
    kinds = text.translate(_KINDS)
    if "m" * (_MOST_MARKS + 1) in kinds:
        kept = re.finditer(f"(m{{1,{_MOST_MARKS}}})m*|(-+)", kinds)
        text = "".join(text[slice(*run.span(run.lastindex or 0))] for run in kept)
    return unicodedata.normalize(form, text)


class _CharacterTable(dict[int, str]):
    """A table for `str.translate` that asks `replace` for each new character, and remembers the first ones."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        replaced = self._replace(chr(code))
        if len(self) < _CACHE_SIZE:
            self[code] = replaced
        return replaced


def _clean_character(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "L" or category in {"Nd", "Mc"} or (category == "Mn" and not _is_selector(character)):
        return character
    return {"’": "'", "‑": "-", "–": "-"}.get(character, character if character in _PUNCTUATION_IN_WORDS else " ")


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


_CLEAN = _CharacterTable(_clean_character)
_COMPATIBLE = _CharacterTable(lambda character: unicodedata.normalize("NFKC", character))
_KINDS = _CharacterTable(lambda character: "m" if _starts_with_mark(character) else "-")
_WITHOUT_MARKS = _CharacterTable(lambda character: "" if unicodedata.category(character) == "Mn" else character)


def _starts_with_mark(character: str) -> bool:
    return unicodedata.combining(unicodedata.normalize("NFD", character)[0]) > 0


def fold(text: str) -> str:
    """Return `text` without diacritics: `żółty` becomes `zolty`."""
    return text if text.isascii() else _cached_fold(text)


@lru_cache(_CACHE_SIZE)
def _cached_fold(text: str) -> str:
    return _normalize("NFD", text.translate(_FOLDED)).translate(_WITHOUT_MARKS)


def is_polish(text: str, language: str) -> bool:
    """Return whether `text` is Polish by the event's `language` or, in an English event, by its letters or words."""
    return _are_polish(clean(text), language)


def _are_polish(words: str, language: str) -> bool:
    if not language.startswith("en"):
        return language.startswith("pl")
    words = words.casefold()
    return not _POLISH_LETTERS.isdisjoint(words) or words in _unambiguous_forms()


def translate(text: str, english: str | None, language: str, weight: float = 1.0) -> Term | None:
    """Return the term for a prompt, or None if `text` has no words."""
    if english is not None and (words := clean(english)):
        return Term(words, text, "given", weight)
    words = clean(text)
    if not words:
        return None
    polish = _are_polish(words, language)
    translation = glossary().get(_glossary_key(words)) if polish else None
    if translation is not None:
        return Term(translation, text, "glossary", weight)
    if (language.startswith("en") and not polish) or _english_words().issuperset(words.lower().split()):
        return Term(words, text, "own", weight)
    plain = fold(words) if polish else words
    return Term(plain, text, "passed" if plain == words else "folded", weight)


def visible_things(prose: str, language: str) -> list[Term]:
    """Return the visible things that a text names, in order: English words, and Polish terms of the glossary."""
    cleaned = clean(prose)
    words = cleaned.split()
    polish_words = sum(word.casefold() in _unambiguous_forms() for word in set(words))
    # one such word may be a name, as in Las Vegas
    polish = _are_polish(cleaned, language) or (language.startswith("en") and polish_words > 1)
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
