"""Terms of other languages with their English terms, from CLDR's emoji names and from the Polish list of this project.

Both are keyed by lemmas. simplemma (https://github.com/adbar/simplemma) lists the inflected forms of each lemma, so the
service needs no lemmatiser: Polish alone would cost a worker 400 MB of memory and 3 s of start-up.
CLDR's keywords are left out. They are associations: `aquarium` is a keyword of the jellyfish.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import simplemma
from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES, DefaultDictionaryFactory

from streams.segments.lexicon.foreign import MAX_WORDS

_SUBGROUPS = {
    "person": (23, 25),
    "animal": (34, 35, 36, 37, 38, 39),
    "plant": (40, 41),
    "food": (42, 43, 44, 45, 46, 47),
    "place": (50, 51, 52, 53),
    "thing": (48, 54, 55, 56, 57, 60, 61, 62, 63, 64, 65, 68, 69, 70, 71, 72, 73, 75, 76, 77, 78, 79, 80, 81, 82),
}
_KINDS = {number: kind for kind, numbers in _SUBGROUPS.items() for number in numbers}
"""The kind of each subgroup of emoji that shows something a person can name (emojibase-data, meta/groups.json)."""
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_UNNATURAL = re.compile(r"\b(face|button|symbol|sign|person|people|man|men|woman|women|showing|with|without)\b")


def languages(cldr: Path) -> list[str]:
    """Return the languages that both CLDR and simplemma know, without English."""
    return sorted(set(SUPPORTED_LANGUAGES) & {path.name for path in (cldr / "annotations").iterdir()} - {"en"})


def english_names(emojibase: Path, cldr: Path) -> dict[str, tuple[str, str]]:
    """Return the English name and kind of each emoji that shows something a person can name."""
    kinds = {_plain(row["emoji"]): _KINDS.get(row.get("subgroup")) for row in _read(emojibase / "en/data.json")}
    found = {}
    for emoji, name in _names(cldr, "en").items():
        words = name.split()
        plain = len(words) <= MAX_WORDS and all(_WORD.fullmatch(word) for word in words)
        if (kind := kinds.get(emoji)) and plain and not _UNNATURAL.search(name):
            found[emoji] = (name.lower() if name.istitle() else name, kind)
    return found


def terms(cldr: Path, language: str, names: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Return the English term of each lemma sequence of a language."""
    found: dict[str, str] = {}
    foreign = _names(cldr, language)
    for emoji, (english, _) in names.items():
        words = lemmas(foreign.get(emoji, ""), language)
        if words and len(words.split()) <= MAX_WORDS:
            found.setdefault(words, english)
    return found


def lemmas(text: str, language: str) -> str:
    """Return the lemmas of a text in lower case, joined by spaces."""
    return " ".join(simplemma.lemmatize(word.lower(), lang=language).lower() for word in _WORD.findall(text))


def forms(words: set[str], language: str) -> Iterator[tuple[str, str]]:
    """Yield each inflected form of the given lemmas, with its lemma."""
    for form, lemma in DefaultDictionaryFactory().get_dictionary(language).items():
        if (lower := lemma.lower()) in words and form.lower() != lower and _WORD.fullmatch(form):
            yield form.lower(), lower


def _names(cldr: Path, language: str) -> dict[str, str]:
    rows = _read(cldr / f"annotations/{language}/annotations.json")["annotations"]["annotations"]
    return {_plain(emoji): row["tts"][0] for emoji, row in rows.items() if row.get("tts")}


def _plain(emoji: str) -> str:
    return emoji.replace("\ufe0f", "")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
