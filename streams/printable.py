"""Foreign text for a terminal: text of events and objects must not move the cursor, reverse text or forge a line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

_JOINERS = "\u200c\u200d"  # emoji and several scripts need them, and they neither move nor reverse anything


def printable(text: str) -> str:
    r"""Return one line with escapes such as `\x1b` and `\u202e` in place of control, bidi and line-break characters."""
    return _escaped(text, lambda character: character.encode("unicode_escape").decode())


def printable_json(document: str) -> str:
    r"""Return the same JSON document with `\u....` escapes in place of the characters that `printable` escapes."""
    return _escaped(document, lambda character: json.dumps(character)[1:-1])


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(character if _is_harmless(character) else escape(character) for character in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"
