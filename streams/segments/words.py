"""Cleans the words of an event for a prompt."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

_FOLDED = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "ø": "o", "ß": "ss", "æ": "ae", "œ": "oe"})
_MOST_MARKS = 30
_LETTER_OR_DIGIT = re.compile(r"\w")  # no "_" is left in cleaned text
_PUNCTUATION_IN_WORDS = "'-%."
_EDGES = _PUNCTUATION_IN_WORDS.replace("%", "")  # removed at the ends of a word
_ALWAYS_ALLOWED = 200  # characters; a longer text must not grow when it is normalized: one character can become 18
_CACHED_LENGTH, _CACHE_SIZE = 100, 8192  # characters of a cached text, cached texts: segments share many words


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
