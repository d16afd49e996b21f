"""Cleaning of words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.segments import words as words_module
from streams.segments.words import clean, fold


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(latte:1.3)", "latte 1.3"),
        ("<milk>, [cream] {a|b}", "milk cream a b"),
        ("a\u0000b\u202ec\nd", "a b c d"),
        ("#CoffeeLover @home", "CoffeeLover home"),
        ("ｃｏｆｆｅｅ 𝓬𝓾𝓹", "coffee cup"),
        ("mac & cheese", "mac and cheese"),
        ("chef’s  knife", "chef's knife"),
        ("3.2 % milk", "3.2 milk"),
        ("100% juice", "100% juice"),
        ("--steps 9 \\n", "steps 9 n"),
        ("café", "café"),
        ("cafe\u0301", "café"),
        ("☕", ""),
        ("1️⃣", ""),
        ("♥︎", ""),
        ("501", "501"),
        ("\u0301\u0301", ""),
    ],
)
def test_clean_keeps_only_words(text: str, words: str) -> None:
    assert clean(text) == words


EXPANDING = "\ufdfa"  # NFKC turns this one character into 18
MARKS = "\u0344\u0345\u0327\u0301\u0316"  # of different classes, so that normal forms must sort them


@pytest.mark.parametrize("text", [EXPANDING * 200, "a" + EXPANDING * 199, "&" * 199 + "b", "x&" * 100])
def test_a_text_does_not_grow_beyond_200_characters_when_it_is_cleaned(text: str) -> None:
    assert 0 < len(clean(text)) <= 200
    assert len(clean(text * 20)) <= len(text * 20)


def test_a_short_text_keeps_the_whole_form_of_an_expanding_character() -> None:
    assert clean(EXPANDING) == unicodedata.normalize("NFKC", EXPANDING)


def test_a_letter_keeps_30_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    class Counting:
        category, combining = unicodedata.category, unicodedata.combining

        @staticmethod
        def normalize(form: str, text: str) -> str:
            marks = [words_module._starts_with_mark(sign) for sign in text] if len(text) > 1 else []
            runs = "".join("m" if mark else " " for mark in marks).split()
            lengths.append(max(map(len, runs), default=0))
            return unicodedata.normalize(form, text)  # type: ignore[arg-type]

    monkeypatch.setattr(words_module, "unicodedata", Counting)
    text = "a" + MARKS * 20 + "b" + MARKS
    assert clean(text).count("b") == 1
    fold(text)
    assert 0 < max(lengths) <= 30


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text(alphabet="aąﬁ①é\u0301\u0327\u0345ｱ가ᄀ\u1161\u0f73 " + MARKS, max_size=20))
def test_cleaning_equals_nfkc(text: str) -> None:
    table = {ord(sign): words_module._clean_character(sign) for sign in unicodedata.normalize("NFKC", text)}
    spaced = unicodedata.normalize("NFKC", text).translate(table)
    stripped = [word.strip("'-.") for word in spaced.replace("&", " and ").split()]
    kept = [word for word in stripped if any(sign.isalnum() for sign in word)]
    if "&" not in unicodedata.normalize("NFKC", text) and clean(text):
        assert clean(text) == " ".join(kept)
