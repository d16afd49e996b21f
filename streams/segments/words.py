"""Words of an event made fit for a prompt: cleaned of what is no word, and put into English where they are Polish.

CLIP's text encoders were trained on English. An event's own English form comes first; then the glossary of everyday
advertising terms (`glossary_pl.tsv`); a Polish term without either is passed on with its diacritics folded, because a
brand or a loan word may still be understood, and is named in the rationale as untranslated. Polish is what the event
says is Polish, and in an event that calls itself English what shows it: Polish letters, or a form of the glossary that
is no English word too.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

Origin = Literal["given", "glossary", "passed", "folded", "own"]

_FOLDED = str.maketrans({"ł": "l", "Ł": "L", "đ": "d", "ø": "o", "ß": "ss", "æ": "ae", "œ": "oe"})
_KEPT_SIGNS = "'-%."
_POLISH_LETTERS = frozenset("ąćęłńóśźż")
_LONGEST_ENTRY = 3  # words of a glossary entry that is looked for in prose
_SHORT, _REMEMBERED = 100, 8192  # characters of a term, and how many terms: segments are described in the same words


@dataclass(frozen=True)
class Term:
    """A piece of a prompt. origin: how `words` came from `original` (`own`: the event's language is the prompt's)."""

    words: str
    original: str
    origin: Origin = "own"
    weight: float = 1.0

    @property
    def key(self) -> str:
        """What two terms share that say the same."""
        return fold(self.words).casefold()


def clean(text: str) -> str:
    """Return the words of `text`: letters, digits and what stands within words; all else becomes a space.

    Emoji, control characters, and the brackets, colons, commas and angle brackets that mean something in prompts
    or name tokens go. Compatibility forms (fullwidth and "fancy" letters) become plain ones.
    Empty where no word is left.
    """
    return _clean_again(text) if len(text) <= _SHORT else _cleaned(text)


def _cleaned(text: str) -> str:
    spaced = "".join(_kept(sign) for sign in unicodedata.normalize("NFKC", text.replace("&", " and ")))
    words = (word.strip(_KEPT_SIGNS.replace("%", "")) for word in spaced.split())
    joined = " ".join(word for word in words if any(sign.isalnum() for sign in word))
    return joined if any(sign.isalpha() for sign in joined) or re.search(r"\d{2}", joined) else ""


_clean_again = lru_cache(_REMEMBERED)(_cleaned)


@lru_cache(_REMEMBERED)
def _kept(sign: str) -> str:
    category = unicodedata.category(sign)
    if category[0] == "L" or category in {"Nd", "Mc"} or (category == "Mn" and not _is_selector(sign)):
        return sign
    return {"’": "'", "‑": "-", "–": "-"}.get(sign, sign if sign in _KEPT_SIGNS else " ")


def _is_selector(sign: str) -> bool:
    return "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef"


def fold(text: str) -> str:
    """Return `text` without diacritics: `żółty` becomes `zolty`."""
    return text if text.isascii() else _folded(text)


@lru_cache(_REMEMBERED)
def _folded(text: str) -> str:
    parted = unicodedata.normalize("NFD", text.translate(_FOLDED))
    return "".join(sign for sign in parted if unicodedata.category(sign) != "Mn")


def is_polish(text: str, language: str) -> bool:
    """Return whether `text` is Polish: the event's language says so, or, in an English event, the text shows it."""
    if not language.startswith("en"):
        return language.startswith("pl")
    words = clean(text).casefold()
    return not _POLISH_LETTERS.isdisjoint(words) or words in _unmistakable()


def translate(text: str, english: str | None, language: str, weight: float = 1.0) -> Term | None:
    """Return the term for a prompt, None where nothing of it is a word."""
    if english is not None and (words := clean(english)):
        return Term(words, text, "given", weight)
    words = clean(text)
    if not words:
        return None
    polish = is_polish(words, language)
    known = glossary().get(_entry(words)) if polish else None
    if known is not None:
        return Term(known, text, "glossary", weight)
    if (language.startswith("en") and not polish) or _english_words().issuperset(words.lower().split()):
        return Term(words, text, "own", weight)
    plain = fold(words) if polish else words
    return Term(plain, text, "passed" if plain == words else "folded", weight)


def visible_things(prose: str, language: str) -> list[Term]:
    """Return what a text names that one can see, in its order: words of English, and of Polish by the glossary."""
    words = clean(prose).split()
    told = sum(word.casefold() in _unmistakable() for word in set(words))
    polish = is_polish(prose, language) or (language.startswith("en") and told > 1)  # one may be a name: Las Vegas
    found: dict[str, Term] = {}
    position = 0
    while position < len(words):
        term = _thing_at(words[position : position + _LONGEST_ENTRY], polish=polish)
        if term is not None:
            found.setdefault(term.key, term)
        position += len(term.original.split()) if term else 1
    return list(found.values())


def _thing_at(words: list[str], *, polish: bool) -> Term | None:
    """Return the thing that the first of these words, or more of them together, are the name of."""
    for count in range(len(words) if polish else 0, 0, -1):
        phrase = " ".join(words[:count])
        english = glossary().get(_entry(phrase))
        if english is not None and not abstract_words().issuperset(english.split()):
            return Term(english, phrase, "glossary")
    word = words[0].lower()
    return Term(word, word) if word in visible_words() else None


@cache
def glossary() -> dict[str, str]:
    """Return the Polish terms with their English ones; keys are folded lower case."""
    return {_entry(polish.rstrip("*")): english for polish, english in _forms()}


@cache
def _forms() -> tuple[tuple[str, str], ...]:
    """Return every Polish form as the table writes it, with its English term."""
    table = files("streams.segments").joinpath("glossary_pl.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return tuple((polish, english) for forms, english in rows for polish in forms.split("|"))


@cache
def _unmistakable() -> frozenset[str]:
    """Return the Polish forms that no English text would hold: not those with the table's * (`pies`, `but`)."""
    return frozenset(polish.casefold() for polish, _ in _forms() if not polish.endswith("*")) - _english_words()


@cache
def visible_words() -> frozenset[str]:
    """Return the English words for things one can see: the one-word half of the glossary."""
    return frozenset(english for english in glossary().values() if " " not in english) - abstract_words()


@cache
def _english_words() -> frozenset[str]:
    return abstract_words().union(*(english.split() for english in glossary().values()))


@cache
def abstract_words() -> frozenset[str]:
    """Return English words for what nobody can see, such as `lifestyle`."""
    lines = files("streams.segments").joinpath("abstract_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _entry(words: str) -> str:
    return fold(words).casefold()
