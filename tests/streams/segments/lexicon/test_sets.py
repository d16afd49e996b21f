"""The sets of words."""

from __future__ import annotations

from streams.segments.lexicon import english, sets


def test_words_of_a_term_are_joined_by_hyphens() -> None:
    assert {"ferris-wheel", "ferris wheel"} <= sets.words("landmarks")


def test_places_are_nouns_of_the_table() -> None:
    for name in sets.PLACE_PHRASES:
        if name not in {"outdoors", "swimming-pool"}:
            noun = english.noun(name)
            assert noun is None or noun.kind == "place", name
