"""Polish forms that simplemma lacks."""

from __future__ import annotations

import pytest

from scripts.lexicon import polish_cases

FREQUENCIES = {
    "pl": {"namioty": 3.2, "namiotach": 2.0, "kawe": 2.5, "mode": 3.0, "koty": 4.0, "kot": 5.0},
    "en": {"mode": 4.5},
}
LEMMAS = {"namioty": "namiota", "namiotach": "namiotach", "koty": "kot"}


@pytest.fixture(autouse=True)
def small_dictionaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish_cases.wordfreq, "zipf_frequency", lambda word, lang: FREQUENCIES[lang].get(word, 0.0))
    monkeypatch.setattr(polish_cases.simplemma, "lemmatize", lambda word, lang: LEMMAS.get(word, word))
    monkeypatch.setattr(polish_cases.simplemma, "is_known", lambda word, lang: LEMMAS.get(word, word) != word)


@pytest.mark.parametrize(
    ("noun", "forms"),
    [
        ("namiot", {"namioty", "namiotach"}),
        ("kawa", {"kawe"}),
        ("moda", set()),  # `mode` is English
        ("kot", set()),  # simplemma has them
    ],
)
def test_forms_are_words_in_use_that_belong_to_no_other_noun(noun: str, forms: set[str]) -> None:
    assert polish_cases.forms(noun) == forms


def test_known_forms_are_not_repeated() -> None:
    assert list(polish_cases.missing({"namiot"}, {"namioty"})) == [("namiotach", "namiot")]
