"""Foreign text on a terminal: nothing that controls it, and every letter of every language."""

from __future__ import annotations

import json

import pytest

from streams.printable import printable, printable_json

HOSTILE = "\x1b[2J\x07\x9b31m\u202eevil\u2066\u200f\u2028\x7f\r\n\t\u0000\ufeff\U000e0041\ud800"
HARMLESS = "Miłośnik kawy – 咖啡 – \U0001f469\u200d\U0001f373 – قهوة – 10\xa0zł"


@pytest.mark.parametrize("character", HOSTILE.replace("[2J", "").replace("31m", "").replace("evil", ""))
def test_control_bidi_and_line_break_characters_become_escapes(character: str) -> None:
    shown = printable(f"a{character}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert json.loads(printable_json(json.dumps(f"a{character}b", ensure_ascii=False))) == f"a{character}b"


def test_letters_of_any_language_stay() -> None:
    assert printable(HARMLESS) == HARMLESS
    document = json.dumps({"name": HARMLESS}, ensure_ascii=False)
    assert printable_json(document) == document


def test_json_keeps_its_value_and_becomes_printable() -> None:
    document = printable_json(json.dumps({"name": HOSTILE}, ensure_ascii=False))
    assert document.isprintable()
    assert json.loads(document) == {"name": HOSTILE}
