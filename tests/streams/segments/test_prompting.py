"""Prompts of segments: length, limits, any event."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import SegmentUpdated
from streams.failures import InvalidEvent
from streams.requests import ShownProduct
from streams.segments.prompting import Prompter
from streams.segments.token_count import TokenCounter
from tests.streams.segments.examples import about, segment

JAM = ShownProduct("sks jar of jam", "jar of jam")
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def test_a_prompt_follows_the_template(prompter: Prompter) -> None:
    event = segment(interests=["breakfast"], brand={"name": "B", "features": ["wooden table", "warm light", "blue"]})
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso and a croissant on a wooden table, warm light, blue tones"
    assert (prompt.negative, prompt.template_version) == ("blurry", 3)
    assert prompt.rationale[0] == "template 3"
    assert about(prompt.rationale, "keywords") == [
        "used: espresso (9); a croissant (4)",
        "left out, the picture shows at most two things: latte",
    ]
    assert about(prompt.rationale, "brand.features") == ["used: on a wooden table; warm light; blue tones"]
    assert about(prompt.rationale, "interests") == ["left out, the picture shows at most two things: breakfast"]
    assert about(prompt.rationale, "name") == ["left out, the picture shows at most two things: coffee"]
    assert prompt.rationale[-1] == f"{prompt.tokens} of 77 tokens"


def test_the_light_is_soft_unless_the_brand_names_one(prompter: Prompter) -> None:
    assert prompter.compose(segment()).text == "an advertising photo of espresso and a croissant, soft light"


@pytest.mark.parametrize("limit", [8, 10, 14, 18, 77])
def test_prompts_fit_and_keep_the_most_important_terms(tokenizer: str, limit: int) -> None:
    event = segment(
        keywords=[{"term": "croissant", "weight": 9}, {"term": "cup of tea", "weight": 5}, "garden"],
        brand={"name": "b", "features": ["light blue background"]},
    )
    prompt = Prompter(tokenizer, limit, "").compose(event)
    assert TokenCounter(tokenizer).count(prompt.text) == prompt.tokens <= limit
    whole = "an advertising photo of a croissant and a cup of tea in a garden, light blue background, soft light"
    texts = {
        8: "an advertising photo of a croissant",
        10: "an advertising photo of a croissant",
        14: "an advertising photo of a croissant and a cup of tea",
        18: "an advertising photo of a croissant and a cup of tea in a garden",
    }
    assert prompt.text == texts.get(limit, whole)
    if limit == 18:
        reason = "left out, the prompt has no room for it: light blue background"
        assert reason in about(prompt.rationale, "brand.features")


def test_a_word_longer_than_the_limit_is_cut(tokenizer: str) -> None:
    class Letters(TokenCounter):
        def count(self, text: str) -> int:
            return len(text) + 2

    prompter = Prompter(tokenizer, 40, "")
    prompter._tokens = Letters(tokenizer)
    prompt = prompter.compose(segment(keywords=[{"term": "x" * 200}], name="y"))
    assert prompt.text == "an advertising photo of " + "x" * 14
    assert about(prompt.rationale, "keywords") == ["used: " + "x" * 14]
    whole = prompter.compose(segment(keywords=[{"term": "flat white coffee"}]))
    assert whole.text == "an advertising photo of flat white"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_examples_need_no_translation(prompter: Prompter, path: Path) -> None:
    given = json.loads(path.read_text("utf-8"))
    if "segment_id" not in given:
        return
    prompt = prompter.compose(SegmentUpdated.model_validate(given))
    assert "untranslated" not in " ".join(prompt.rationale)
    assert prompt.text.isascii()


def test_the_recipe_covers_tables_and_vocabulary(tokenizer: str) -> None:
    free = Prompter(tokenizer, 77, "").recipe_settings
    limited = Prompter(tokenizer, 77, "", {"dog": ["pet"]}).recipe_settings
    assert free["template"] == 3
    assert "vocabulary" not in free
    assert limited == {**free, "vocabulary": limited["vocabulary"]}


def test_an_event_without_words_is_invalid(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "☕"}]).model_copy(update={"name": "☕☕"})
    with pytest.raises(InvalidEvent, match="name: holds no word"):
        prompter.compose(event)


words = st.text(min_size=1, max_size=30).filter(lambda text: text.strip() != "")


@st.composite
def events(draw: st.DrawFn) -> SegmentUpdated:
    keywords = draw(st.lists(st.tuples(words, st.floats(0, 100), st.none() | words), max_size=12))
    return segment(
        name="n" + draw(words),
        language=draw(st.sampled_from(["en", "pl", "de"])),
        description=draw(st.text(max_size=80) | st.sampled_from(["dogs in a park", "psy na plaży"])),
        keywords=[{"term": term, "weight": weight, "en": english} for term, weight, english in keywords],
        interests=draw(st.lists(words, max_size=5)),
        brand={"name": "b", "features": draw(st.lists(words, max_size=5))},
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(event=events(), limit=st.integers(8, 77), product=st.none() | st.just(JAM))
def test_any_event_gives_a_valid_prompt(
    tokenizer: str, event: SegmentUpdated, limit: int, product: ShownProduct | None
) -> None:
    prompter = Prompter(tokenizer, limit, "")
    prompt = prompter.compose(event, product)
    assert prompt == Prompter(tokenizer, limit, "").compose(event, product)
    assert prompt.tokens <= limit
    assert prompt.text.startswith("an advertising photo of ")
    allowed = set("',-%. ")
    for sign in prompt.text:
        assert sign in allowed or unicodedata.category(sign)[0] in "LMN", hex(ord(sign))
    assert all("\n" not in line for line in prompt.rationale)


class Counting(TokenCounter):
    """Counts what it is asked to count."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.calls, self.characters = 0, 0

    def count(self, text: str) -> int:
        self.calls += 1
        self.characters += len(text)
        return super().count(text)


def spread(text: str, number: int) -> list[str]:
    """Return `number` different texts of at most 200 characters."""
    return [f"a{n} {text}"[:200] for n in range(number)]


@pytest.mark.parametrize("text", ["\ufdfa" * 200, "x" * 200, "x " * 100, "&" * 200, "a\u0344" * 100, "ź" * 200])
def test_the_longest_event_takes_few_and_short_token_counts(tokenizer: str, text: str) -> None:
    event = segment(
        name=f"n{text}"[:200],
        description=text * 20,
        keywords=spread(text, 200),
        interests=spread(text, 100),
        brand={"name": "b", "features": spread(text, 50)},
    )
    prompter = Prompter(tokenizer, 77, "")
    counting = prompter._tokens = Counting(tokenizer)
    assert prompter.compose(event, JAM).tokens <= 77
    assert counting.calls <= 40
    assert counting.characters <= 40_000


def test_shortening_halves_instead_of_trying_every_length(tokenizer: str) -> None:
    prompter = Prompter(tokenizer, 40, "")
    counting = prompter._tokens = Counting(tokenizer)
    prompter.compose(segment(keywords=[], name="x " * 100))
    assert counting.calls <= 14, "200 pieces are halved 8 times"
