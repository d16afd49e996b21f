"""Articles, prepositions and the order of a prompt."""

from __future__ import annotations

import pytest

from streams.segments.sentence import as_seen, place_phrase, sentence, surface_phrase, with_article
from streams.segments.visible import as_thing, things_in


def test_a_sentence_names_subjects_place_look_and_light() -> None:
    text = sentence(["a dog", "a puppy"], "in a park", ["light blue background"], "soft light")
    assert text == "an advertising photo of a dog and a puppy in a park, light blue background, soft light"
    assert sentence(["coffee"]) == "an advertising photo of coffee"


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("dog", "a dog"),
        ("apple", "an apple"),
        ("hour glass", "an hour glass"),
        ("unicorn", "a unicorn"),
        ("dogs", "dogs"),
        ("children", "children"),
        ("headphones", "headphones"),
        ("bus", "a bus"),
        ("glass", "a glass"),
        ("coffee", "coffee"),
        ("flat white coffee", "flat white coffee"),
        ("cup of coffee", "a cup of coffee"),
        ("bottles of red wine", "bottles of red wine"),
        ("birthday cake", "a birthday cake"),
        ("gold", "gold"),
        ("sun", "the sun"),
        ("sks jar", "a sks jar"),
    ],
)
def test_articles(words: str, phrase: str) -> None:
    assert with_article(words) == phrase


@pytest.mark.parametrize(
    ("place", "phrase"),
    [
        ("park", "in a park"),
        ("beach", "on a beach"),
        ("mountains", "in the mountains"),
        ("mountain", "on a mountain"),
        ("cafes", "in a cafe"),
        ("sunrise", "at sunrise"),
        ("sea", "by the sea"),
        ("home", "at home"),
        ("countryside", "in the countryside"),
        ("allotment garden", "in an allotment garden"),
    ],
)
def test_places(place: str, phrase: str) -> None:
    thing = as_thing(place)
    assert thing is not None
    assert place_phrase(thing) == phrase


def test_a_surface() -> None:
    assert surface_phrase("wooden table") == "on a wooden table"


def test_prose_is_shown_in_the_number_that_one_sees() -> None:
    things = things_in("They walk their dogs in boots, drink cups of tea and love bicycles and grapes.", "en")
    assert [as_seen(thing) for thing in things] == ["dog", "boots", "cups of tea", "bicycle", "grapes"]
