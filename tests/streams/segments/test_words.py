"""Cleaning of words, and their translation from Polish."""

from __future__ import annotations

import pytest

from streams.segments.words import abstract_words, clean, fold, glossary, translate, visible_words


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


@pytest.mark.parametrize(
    ("text", "english", "words", "origin"),
    [
        ("kawa", None, "coffee", "glossary"),
        ("KAWĘ", None, "coffee", "glossary"),
        ("gołąbki", None, "cabbage rolls", "glossary"),
        ("golabki", None, "cabbage rolls", "glossary"),
        ("filiżanka kawy", "espresso cup", "espresso cup", "given"),
        ("źdźbło", None, "zdzblo", "folded"),
        ("Łódź", None, "Lodz", "folded"),
        ("coffee cup", None, "coffee cup", "own"),
        ("Fluence", None, "Fluence", "passed"),
        ("kawa", "☕", "coffee", "glossary"),
    ],
)
def test_translate_in_a_polish_event(text: str, english: str | None, words: str, origin: str) -> None:
    term = translate(text, english, "pl", 2.0)
    assert term is not None
    assert (term.words, term.origin, term.original, term.weight) == (words, origin, text, 2.0)


@pytest.mark.parametrize(
    ("text", "words", "origin"),
    [
        ("kawa", "coffee", "glossary"),  # not an English word
        ("filiżanka kawy", "cup of coffee", "glossary"),
        ("góry", "mountains", "glossary"),
        ("kremówka", "kremowka", "folded"),
        ("pies", "pies", "own"),  # `dog` in Polish, but an English word too
        ("gory", "gory", "own"),  # `góry` without its diacritics
        ("latte", "latte", "own"),
        ("café", "café", "own"),
    ],
)
def test_translate_detects_polish_in_an_english_event(text: str, words: str, origin: str) -> None:
    term = translate(text, None, "en")
    assert term is not None
    assert (term.words, term.origin) == (words, origin)


def test_the_glossary_is_consistent() -> None:
    entries = glossary()
    assert len(entries) > 500
    for polish, english in entries.items():
        assert polish == fold(polish).casefold() == polish.strip()
        assert english == clean(english) == english.strip() != ""
        assert english.isascii()
    assert "coffee" in visible_words()
    assert not visible_words() & abstract_words()
