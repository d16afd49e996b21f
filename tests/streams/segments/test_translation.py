"""Translation of terms, and detection of Polish in English events."""

from __future__ import annotations

import pytest

from streams.segments.translation import things_in_prose, translate


@pytest.mark.parametrize(
    ("text", "english", "words", "origin"),
    [
        ("kawa", None, "coffee", "table"),
        ("KAWĘ", None, "coffee", "table"),
        ("gołąbki", None, "cabbage rolls", "table"),
        ("golabki", None, "cabbage rolls", "table"),
        ("filiżanka kawy", "espresso cup", "espresso cup", "given"),
        ("drewniany stół", None, "wooden table", "table"),
        ("zielone tło", None, "green background", "table"),
        ("ciepłe brązy", None, "warm brown tones", "table"),
        ("świeże pomidory z działki", None, "tomato", "table"),
        ("źdźbło", None, "zdzblo", "folded"),
        ("coffee cup", None, "coffee cup", "own"),
        ("Fluence", None, "Fluence", "passed"),
        ("kawa", "☕", "coffee", "table"),
    ],
)
def test_translate_in_a_polish_event(text: str, english: str | None, words: str, origin: str) -> None:
    term = translate(text, english, "pl", 2.0)
    assert term is not None
    assert (term.words, term.origin, term.original, term.weight) == (words, origin, text, 2.0)


@pytest.mark.parametrize(
    ("text", "words", "origin"),
    [
        ("kawa", "coffee", "table"),  # not an English word
        ("filiżanka kawy", "cup of coffee", "table"),
        ("góry", "mountains", "table"),
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


@pytest.mark.parametrize(
    ("text", "language", "words", "origin"),
    [
        ("Bier", "de", "beer", "table"),
        ("Gift", "de", "Gift", "passed"),  # poison, not a present
        ("gafas de sol", "es", "sunglasses", "table"),
        ("protection des données", "fr", "protection des données", "passed"),
    ],
)
def test_other_languages_use_their_tables(text: str, language: str, words: str, origin: str) -> None:
    term = translate(text, None, language)
    assert term is not None
    assert (term.words, term.origin) == (words, origin)


def test_a_text_without_words_has_no_term() -> None:
    assert translate("☕", None, "en") is None


@pytest.mark.parametrize(
    ("prose", "things"),
    [
        ("Rano pije kawę, a potem je gołąbki.", ["coffee", "cabbage rolls"]),
        ("They saw lody in Las Vegas, but bake pies and eat honey on toast.", ["pies", "honey", "toast"]),
    ],
)
def test_two_polish_words_make_prose_of_an_english_event_polish(prose: str, things: list[str]) -> None:
    assert [thing.words for thing in things_in_prose(prose, "en")] == things


def test_long_prose_is_read_up_to_300_words() -> None:
    assert things_in_prose("and " * 299 + "dog", "en")
    assert not things_in_prose("and " * 300 + "dog", "en")
