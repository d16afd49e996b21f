"""What a segment's picture shows."""

from __future__ import annotations

from typing import Any

import pytest

from streams.requests import ShownProduct
from streams.segments.prompting import Prompter
from tests.streams.segments.examples import about, segment

BOTTLE = ShownProduct("sks water bottle", "water bottle")


def shown(prompter: Prompter, product: ShownProduct | None = None, **changes: Any) -> str:
    """Return the prompt of an event without its opening and its closing."""
    fields = {"keywords": [], "name": "somebody", **changes}
    text = prompter.compose(segment(**fields), product).text
    return text.removeprefix("an advertising photo of ").removesuffix(", soft light")


def test_subjects_come_from_keywords_then_description_then_interests_then_name(prompter: Prompter) -> None:
    fields = {"keywords": ["tent"], "description": "They love a kayak.", "interests": ["guitar"], "name": "cat people"}
    texts = []
    for field in fields:
        texts.append(shown(prompter, **{name: value for name, value in fields.items() if name != field}))
    assert texts == ["a kayak and a guitar", "a tent and a guitar", "a tent and a kayak", "a tent and a kayak"]
    assert shown(prompter, keywords=["tent"], name="cat people") == "a tent and a cat"


def test_equal_weights_keep_the_events_order(prompter: Prompter) -> None:
    assert shown(prompter, keywords=["milk", "bread", "honey"]) == "milk and bread"
    weighted = [{"term": "milk"}, {"term": "bread", "weight": 2}, {"term": "honey", "weight": 3}]
    assert shown(prompter, keywords=weighted) == "honey and bread"


def test_what_the_event_names_often_comes_first(prompter: Prompter) -> None:
    prose = "They read novels, ride a bicycle and look for laptops."
    assert shown(prompter, description=prose, interests=["laptops"]) == "a laptop and a bicycle"


@pytest.mark.parametrize("term", ["RGB", "zero waste", "cheap travel", "sleep", "healthy lifestyle"])
def test_what_names_nothing_visible_is_left_out(prompter: Prompter, term: str) -> None:
    keywords = [{"term": term, "weight": 9}, {"term": "salad", "weight": 1}]
    prompt = prompter.compose(segment(keywords=keywords, name="somebody"))
    assert prompt.text == "an advertising photo of salad, soft light"
    assert f"left out, names nothing that a picture can show: {term}" in about(prompt.rationale, "keywords")


def test_one_thing_is_shown_once(prompter: Prompter) -> None:
    assert shown(prompter, keywords=["tent", "tents", "hiking boots", "boots"]) == "a tent and hiking boots"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"keywords": ["dog", "park", "beach"]}, "a dog in a park"),
        ({"keywords": ["dog"], "description": "They go to the beach."}, "a dog on a beach"),
        ({"keywords": ["mountains"]}, "mountains"),
        ({"keywords": ["tea"], "brand": {"name": "B", "features": ["wooden table"]}}, "tea on a wooden table"),
        (
            {"keywords": ["tea", "garden"], "brand": {"name": "B", "features": ["wooden table"]}},
            "tea in a garden",
        ),
    ],
)
def test_a_picture_has_one_place(prompter: Prompter, changes: dict[str, Any], text: str) -> None:
    assert shown(prompter, **changes) == text


def test_features_are_looks(prompter: Prompter) -> None:
    features = ["bold", "pastel colours", "no sugar", "dark background", "green", "soft cotton", "elegant"]
    prompt = prompter.compose(segment(brand={"name": "B", "features": features}))
    assert prompt.text.endswith("pastel colours, dark background, green tones, soft cotton, soft light")
    assert about(prompt.rationale, "brand.features")[1:] == [
        "left out, no colour, material, background, light or look: bold; no sugar",
        "left out, beyond the 4 most important: elegant",
    ]


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ([], "sks water bottle"),
        (["running shoes"], "sks water bottle"),
        ([{"term": "water bottle", "weight": 9}, {"term": "sports bottles", "weight": 5}], "sks water bottle"),
        ([{"term": "running shoes", "weight": 2}], "sks water bottle and running shoes"),
        ([{"term": "shoes", "weight": 3}, {"term": "towel", "weight": 2}], "sks water bottle and shoes"),
        ([{"term": "park", "weight": 1}], "sks water bottle in a park"),
    ],
)
def test_a_product_is_the_only_subject_unless_a_keyword_has_a_weight(
    prompter: Prompter, keywords: list[Any], text: str
) -> None:
    assert shown(prompter, BOTTLE, keywords=keywords, interests=["laptop"], name="dog owners") == text


def test_a_keyword_repeats_either_noun_of_a_class(prompter: Prompter) -> None:
    keywords = [{"term": term, "weight": 9} for term in ("jar", "strawberry jam", "bread")]
    assert (
        shown(prompter, ShownProduct("sks jar of jam", "jar of jam"), keywords=keywords) == "sks jar of jam and bread"
    )


def test_the_rationale_of_a_product(prompter: Prompter) -> None:
    keywords = [{"term": "water bottle", "weight": 9}, "running shoes"]
    lines = prompter.compose(segment(keywords=keywords), BOTTLE).rationale
    assert about(lines, "product_id") == ["used: sks water bottle"]
    assert about(lines, "keywords") == [
        "left out, it repeats what the product is: water bottle",
        "left out, the product stands alone unless a keyword has a weight above 1: running shoes",
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"keywords": ["lifestyle"]}, "lifestyle"),
        ({"keywords": ["lifestyle", "vegan", "yolo"]}, "lifestyle and vegan"),
        ({"interests": ["living in style"]}, "living in style"),
        ({"language": "pl", "keywords": ["Żabka"], "name": "ktoś"}, "a frog"),
        ({"language": "pl", "keywords": ["kremówka", "życie"], "name": "ktoś"}, "kremowka and zycie"),
        ({"language": "de", "keywords": ["Nachhaltigkeit"], "name_en": "green ideas"}, "green ideas"),
    ],
)
def test_without_visible_things_the_words_are_used_as_they_are(
    prompter: Prompter, changes: dict[str, Any], text: str
) -> None:
    assert shown(prompter, **changes) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"description": "They think."}, "They think"),
        ({"brand": {"name": "B", "features": ["wooden table", "red"]}}, "a wooden table, red tones"),
        ({"brand": {"name": "B", "features": ["red", "dark background"]}}, "red tones, dark background"),
    ],
)
def test_description_and_features_are_the_last_resort(prompter: Prompter, changes: dict[str, Any], text: str) -> None:
    event = segment(keywords=[], **changes).model_copy(update={"name": "☕"})
    prompt = prompter.compose(event)
    assert prompt.text == f"an advertising photo of {text}, soft light"
    assert prompt.rationale[1] == "no field names a visible thing, so the prompt takes words as they are"


def test_an_untranslated_word_is_no_subject_beside_a_visible_thing(prompter: Prompter) -> None:
    event = segment(language="pl", keywords=[{"term": "kremówka", "weight": 9}, "kawa"], name="ktoś")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of coffee, soft light"
    assert "left out, untranslated (give an English form): kremówka" in about(prompt.rationale, "keywords")


class TestVocabulary:
    """Weights that draw a limited number of things."""

    @pytest.fixture
    def limited(self, tokenizer: str) -> Prompter:
        return Prompter(tokenizer, 77, "", {"dog": ["pet"], "laptop": [], "wine": ["red wine"], "mountain": []})

    def test_subjects_and_places_are_the_nearest_things(self, limited: Prompter) -> None:
        event = segment(keywords=["laptops", "poodle", "park", "mountains"], name="somebody")
        prompt = limited.compose(event)
        assert prompt.text == "an advertising photo of a laptop and a dog on a mountain, soft light"
        assert about(prompt.rationale, "keywords") == [
            "used: a laptop; a dog; on a mountain",
            (
                "replaced by the nearest thing that these weights draw: laptops -> laptop; poodle -> dog; "
                "mountains -> mountain"
            ),
            "left out, these weights draw nothing like it: park",
        ]

    def test_a_nearest_thing_is_shown_once(self, limited: Prompter) -> None:
        assert shown(limited, keywords=["poodle", "dogs", "beagle"]) == "a dog"

    def test_if_nothing_is_near_the_prompt_names_the_things_all_the_same(self, limited: Prompter) -> None:
        prompt = limited.compose(segment(keywords=["telescope", "thermos"], name="somebody"))
        assert prompt.text == "an advertising photo of a telescope and a thermos, soft light"
        assert "draw nothing near to what the event names" in prompt.rationale[1]
