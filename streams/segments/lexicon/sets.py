"""Small sets of English words that prompts are made with (`english_words.toml`)."""

from __future__ import annotations

import tomllib
from importlib.resources import files

_FILE = files("streams.segments.lexicon").joinpath("english_words.toml")
_CONTENT = tomllib.loads(_FILE.read_text(encoding="utf-8"))
PLACE_PHRASES: dict[str, str] = _CONTENT["place_phrases"]


def words(name: str) -> frozenset[str]:
    """Return the words of a set. A hyphen joins the words of a term: `ferris-wheel` is `ferris wheel` too."""
    listed = _CONTENT[name].split()
    return frozenset([*listed, *(word.replace("-", " ") for word in listed)])
