"""Terms of other languages."""

from __future__ import annotations

import pytest

from streams.segments.lexicon import foreign


@pytest.mark.parametrize(
    ("language", "term", "english"),
    [
        ("pl", "konewka", "watering can"),
        ("pl", "konewką", "watering can"),
        ("pl", "Kiełbasę", "sausage"),
        ("pl", "kielbase", "sausage"),
        ("pl-PL", "filiżankę kawy", "cup of coffee"),
        ("pl", "lody", "ice cream"),
        ("pl", "lód", "ice"),
        ("de", "Tomaten", "tomato"),
        ("es", "playas", "beach"),
        ("fr", "chien", "dog"),
        ("it", "zaini", "backpack"),
        ("uk", "собака", "dog"),
        ("pl", "życie", None),
        ("xx", "dog", None),
    ],
)
def test_terms_in_any_form(language: str, term: str, english: str | None) -> None:
    assert foreign.table(language).term(term.split()) == english


def test_the_longest_term_wins() -> None:
    table = foreign.table("pl")
    assert table.longest_term(["filiżanka", "kawy", "i", "mleko"]) == ("cup of coffee", 2)
    assert table.longest_term(["kawa", "i", "mleko"]) == ("coffee", 1)
    assert table.longest_term([]) is None
