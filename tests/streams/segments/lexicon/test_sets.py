"""The sets of words."""

from __future__ import annotations

from streams.segments.lexicon import english, sets


def test_words_of_a_term_are_joined_by_hyphens() -> None:
    assert {"ferris-wheel", "ferris wheel"} <= sets.words("landmarks")


def test_places_are_nouns_of_the_table() -> None:
    nouns = {name: english.noun(name) for name in sets.PLACE_PHRASES}
    assert {name for name, noun in nouns.items() if noun is None} == {"outdoors", "railway station", "swimming-pool"}
    assert {noun.kind for noun in nouns.values() if noun is not None} == {"place"}
