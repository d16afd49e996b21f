"""Visible things in terms and prose."""

from __future__ import annotations

import pytest

from streams.segments.visible import as_thing, things_in, without_describing


@pytest.mark.parametrize(
    ("prose", "things"),
    [
        (
            "They take their dogs for long walks in the park, share photos of puppies and shop for leads and treats.",
            ["dogs", "park", "puppies"],
        ),
        ("They wax their surfboards and chase waves at the beach.", ["surfboards", "waves", "beach"]),
        (
            "They drink a cup of coffee, buy bottles of olive oil and sleep well.",
            ["cup of coffee", "bottles of olive oil"],
        ),
        ("Flat white coffee from handmade ceramic mugs.", ["flat white coffee", "handmade ceramic mugs"]),
        (
            "They buy waterproof jackets, red shoes and rain jackets.",
            ["waterproof jackets", "red shoes", "rain jackets"],
        ),
        ("They think a lot about life, value freedom and hope.", []),
        ("They shop in a shop.", ["shop"]),
    ],
)
def test_things_in_english_prose(prose: str, things: list[str]) -> None:
    assert [thing.words for thing in things_in(prose, "en")] == things


def test_things_in_other_languages() -> None:
    prose = "W weekendy pracują na działce, sadzą pomidory i pieką kiełbasę na grillu."
    assert [thing.words for thing in things_in(prose, "pl")] == ["allotment garden", "tomato", "sausage", "grill"]
    assert [thing.words for thing in things_in("Pasean a su perro por el parque.", "es")] == ["dog", "park"]
    assert [thing.words for thing in things_in("Miłośnik kawy", "pl")] == ["coffee"]
    assert things_in("Whatever", "xx") == []


def test_a_thing_is_listed_once_with_its_count() -> None:
    [dog, cat] = things_in("A dog, a cat, dogs and the dog.", "en")
    assert (dog.words, dog.count, cat.count) == ("dog", 3, 1)


@pytest.mark.parametrize(
    ("term", "words", "lemma"),
    [
        ("Sneakers", "sneakers", "sneaker"),
        ("cheap laptops", "laptops", "laptop"),
        ("shoes for running", "shoes", "shoe"),
        ("bread with jam", "bread with jam", "bread with jam"),
        ("jar of honey", "jar of honey", "honey"),
        ("leather handbag", "leather handbag", "leather handbag"),
        ("travel by train", "train", "train"),
        ("coffee enthusiast", "coffee", "coffee"),
        ("Dog lovers", "dog", "dog"),
        ("RGB", None, None),
        ("zero waste", None, None),
        ("cheap travel", None, None),
        ("sleep", None, None),
        ("", None, None),
    ],
)
def test_terms(term: str, words: str | None, lemma: str | None) -> None:
    thing = as_thing(term)
    assert (thing and thing.words, thing and thing.lemma) == (words, lemma)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("boots", "hiking boots", True), ("mountain", "mountains", True), ("dog", "puppy", False), ("boat", "oat", False)],
)
def test_the_same_thing(one: str, other: str, same: bool) -> None:
    first, second = as_thing(one), as_thing(other)
    assert first is not None
    assert second is not None
    assert first.same_as(second) is second.same_as(first) is same


def test_describing_words_can_be_removed() -> None:
    assert without_describing("red leather handbag") == "handbag"
    assert without_describing("red") == "red"
