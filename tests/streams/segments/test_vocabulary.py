"""The nearest thing that a family draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import models
from streams.segments.visible import as_thing
from streams.segments.vocabulary import Vocabulary, names_digest

DEMO = json.loads((Path(models.__file__).parent / "demo" / "family.json").read_text())["vocabulary"]


@pytest.mark.parametrize(
    ("thing", "nearest"),
    [
        ("laptops", "laptop"),  # the same
        ("dumbbell", "weightlifter"),  # suggested
        ("espresso", "coffee"),
        ("red wine", "wine"),
        ("poodle", "dog"),  # broader
        ("sourdough bread", "bread"),
        ("waterproof jacket", "coat"),
        ("instant noodles", "ramen"),
        ("hiking boots", "hiking boot"),
        ("mountains", "mountain"),
        ("park", None),
        ("helmet", None),
        ("water bottle", None),
        ("carton of milk", "milk carton"),
        ("cup of coffee", "coffee"),
        ("jars of jam", "jam"),
        ("bottle", None),  # a baby bottle is another thing
        ("boots", "hiking boot"),
        ("telescope", None),
    ],
)
def test_the_demo_family(thing: str, nearest: str | None) -> None:
    found = as_thing(thing)
    assert found is not None
    assert Vocabulary(DEMO).nearest(found) == nearest


def test_a_narrower_thing_is_near() -> None:
    flower = as_thing("flower")
    assert flower is not None
    assert Vocabulary({"sunflower": []}).nearest(flower) == "sunflower"


def test_a_place_is_never_suggested() -> None:
    park = as_thing("park")
    assert park is not None
    assert Vocabulary({"ferris wheel": ["park"]}).nearest(park) is None
    assert Vocabulary({"park": []}).nearest(park) == "park"


def test_the_digest_follows_the_words() -> None:
    assert names_digest({"dog": ["pet"]}) == names_digest({"dog": ("pet",)})
    assert names_digest({"dog": ["pet"]}) != names_digest({"dog": []})
