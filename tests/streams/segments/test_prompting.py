"""Prompts of segments: order of terms, length, languages."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import SegmentUpdated
from streams.failures import InvalidEvent
from streams.segments.prompting import Prompter
from streams.segments.token_count import TokenCounter
from streams.segments.words import abstract_words
from tests.streams.segments.examples import about, segment

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def test_a_prompt_follows_the_template(prompter: Prompter) -> None:
    event = segment(interests=["breakfast"], brand={"name": "B", "features": ["wooden table", "warm light"]})
    prompt = prompter.compose(event)
    assert prompt.text == (
        "an advertising photo of espresso and croissant, latte, breakfast, wooden table, warm light, coffee enthusiast,"
        " soft light"
    )
    assert (prompt.negative, prompt.template_version) == ("blurry", 2)
    assert prompt.rationale[0] == "template 2"
    assert about(prompt.rationale, "keywords") == ["used: espresso (9); croissant (4); latte (2)"]
    assert about(prompt.rationale, "interests") == ["used: breakfast"]
    assert about(prompt.rationale, "name") == ["used: coffee enthusiast"]
    assert prompt.rationale[-1] == f"{prompt.tokens} of 77 tokens"


def test_the_product_comes_first(prompter: Prompter) -> None:
    prompt = prompter.compose(segment(product_id="jam"), "sks jar of jam")
    assert prompt.text == (
        "an advertising photo of sks jar of jam with espresso and croissant, latte, coffee enthusiast, soft light"
    )
    assert about(prompt.rationale, "product_id") == ["used: sks jar of jam"]
    alone = prompter.compose(segment(keywords=[], name="jam"), "<jam>").text
    assert alone == "an advertising photo of <jam> and jam, soft light"


def test_equal_weights_keep_the_events_order(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": term} for term in ("milk", "bread", "honey")])
    assert prompter.compose(event).text.startswith("an advertising photo of milk and bread, honey, ")


def test_concrete_terms_come_before_abstract_ones(prompter: Prompter) -> None:
    event = segment(
        keywords=[{"term": "healthy lifestyle", "weight": 9}, {"term": "salad", "weight": 2}, {"term": "avocado"}]
    )
    assert prompter.compose(event).text.startswith("an advertising photo of salad and avocado, healthy lifestyle, ")
    only = segment(keywords=[{"term": "lifestyle"}])
    assert prompter.compose(only).text == "an advertising photo of lifestyle, coffee enthusiast, soft light"


def test_interests_then_the_name_replace_missing_keywords(prompter: Prompter) -> None:
    event = segment(keywords=[], interests=["hiking", "tent"])
    assert prompter.compose(event).text == "an advertising photo of hiking and tent, coffee enthusiast, soft light"
    assert prompter.compose(segment(keywords=[])).text == "an advertising photo of coffee enthusiast, soft light"


def test_a_description_adds_the_visible_things_it_names(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "espresso"}], description="People who love a croissant and honey on toast!")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso and croissant, honey, toast, coffee enthusiast, soft light"
    assert about(prompt.rationale, "description") == ["used: croissant; honey; toast"]
    abstract = prompter.compose(segment(description="They think a lot."))
    assert about(abstract.rationale, "description") == ["left out, it names nothing to be seen"]
    repeating = prompter.compose(segment(keywords=[{"term": "croissant"}], description="Croissants, a croissant."))
    assert about(repeating.rationale, "description") == ["dropped, said before: croissant"]


def test_many_keywords_are_limited_to_the_heaviest(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": f"thing{n:03d}", "weight": n + 1} for n in range(200)])
    prompt = prompter.compose(event)
    assert prompt.text.startswith("an advertising photo of thing199 and thing198, thing197, ")
    assert prompt.text.count("thing") == 8
    [left] = [line for line in about(prompt.rationale, "keywords") if line.startswith("left out")]
    assert left.startswith("left out, beyond the 8 most important: thing191; ")
    assert left.endswith("and 184 more")


def test_each_field_has_a_limit(prompter: Prompter) -> None:
    event = segment(
        keywords=[{"term": f"thing{n}"} for n in range(9)],
        interests=[f"interest{n}" for n in range(9)],
        brand={"name": "b", "features": [f"feature{n}" for n in range(9)]},
        description="Bread, cheese, tomato, lemon and honey.",
    )
    text = prompter.compose(event).text
    assert [text.count(word) for word in ("thing", "interest", "feature")] == [8, 3, 4]
    assert [word in text for word in ("bread", "cheese", "tomato", "lemon", "honey")] == [True] * 3 + [False] * 2


def test_a_concrete_term_behind_many_abstract_ones_is_used(prompter: Prompter) -> None:
    ideas = sorted(abstract_words())[:9]
    keywords = [{"term": idea, "weight": 9} for idea in ideas] + [{"term": "salad", "weight": 1}]
    prompt = prompter.compose(segment(keywords=keywords))
    assert prompt.text.startswith("an advertising photo of salad, ")
    used, left = about(prompt.rationale, "keywords")
    assert used.startswith("used: salad; ")
    assert "salad" not in left


@pytest.mark.parametrize("limit", [12, 16, 20, 24, 77])
def test_prompts_fit_and_keep_the_most_important_terms(tokenizer: str, limit: int) -> None:
    event = segment(
        keywords=[{"term": f"thing{n} with many words in it", "weight": 50 - n} for n in range(20)],
        interests=["one thing", "another thing"],
        brand={"name": "b", "features": ["wooden table"]},
    )
    prompt = Prompter(tokenizer, limit, "").compose(event)
    assert TokenCounter(tokenizer).count(prompt.text) == prompt.tokens <= limit
    assert prompt.text.startswith("an advertising photo of thing0 with many")
    if limit == 24:
        assert prompt.text == (
            "an advertising photo of thing0 with many words in it and thing1 with many words in it, coffee enthusiast"
        )
        assert "left out, no room: wooden table" in about(prompt.rationale, "brand.features")


def test_a_word_longer_than_the_limit_is_cut(tokenizer: str) -> None:
    class Letters(TokenCounter):
        def count(self, text: str) -> int:
            return len(text) + 2

    prompter = Prompter(tokenizer, 40, "")
    prompter._tokens = Letters(tokenizer)
    prompt = prompter.compose(segment(keywords=[{"term": "x" * 200}]))
    assert prompt.text == "an advertising photo of " + "x" * 14
    assert about(prompt.rationale, "keywords") == ["used: " + "x" * 14]
    whole = prompter.compose(segment(keywords=[{"term": "croissants with almonds"}]))
    assert whole.text == "an advertising photo of croissants"


@pytest.mark.parametrize("language", ["pl", "en"])
def test_the_glossary_finds_things_in_a_polish_description(prompter: Prompter, language: str) -> None:
    prose = "Rano pije kawę z mlekiem, a do filiżanki kawy kładzie drożdżówkę."
    event = segment(language=language, description=prose, keywords=[], name="ktoś")
    prompt = prompter.compose(event)
    assert prompt.text == (
        "an advertising photo of morning and coffee, milk, cup of coffee, sweet bun, ktos, soft light"
    )
    abstract = prompter.compose(segment(language=language, description="Myśli o życiu."))
    reason = "left out, it is Polish without description_en, and the glossary knows nothing to be seen in it"
    assert about(abstract.rationale, "description") == [reason]


def test_english_prose_is_not_treated_as_polish(prompter: Prompter) -> None:
    event = segment(description="They saw lody in Las Vegas, but bake pies and eat honey on toast.")
    assert about(prompter.compose(event).rationale, "description") == ["used: honey; toast"]


def test_interests_and_features_may_have_an_english_form(prompter: Prompter) -> None:
    event = segment(
        language="pl",
        interests=["kawiarnie", {"term": "ręczne parzenie", "en": "hand brewing"}, {"term": "las"}],
        brand={"name": "B", "features": [{"term": "brąz", "en": "brown tones"}]},
    )
    prompt = prompter.compose(event)
    assert "cafe, hand brewing, forest, brown tones" in prompt.text
    assert "in the event's own English form: ręczne parzenie -> hand brewing" in about(prompt.rationale, "interests")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_examples_need_no_translation(prompter: Prompter, path: Path) -> None:
    given = json.loads(path.read_text("utf-8"))
    if "segment_id" not in given:
        return
    prompt = prompter.compose(SegmentUpdated.model_validate(given))
    assert "untranslated" not in " ".join(prompt.rationale)
    assert prompt.text.isascii() or given["language"] == "en"


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
        description=draw(st.text(max_size=80)),
        keywords=[{"term": term, "weight": weight, "en": english} for term, weight, english in keywords],
        interests=draw(st.lists(words, max_size=5)),
        brand={"name": "b", "features": draw(st.lists(words, max_size=5))},
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(event=events(), limit=st.integers(8, 77), product=st.none() | st.just("sks jar of jam"))
def test_any_event_gives_a_valid_prompt(tokenizer: str, event: SegmentUpdated, limit: int, product: str | None) -> None:
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
    assert prompter.compose(event, "sks jar of jam").tokens <= 77
    assert counting.calls <= 40
    assert counting.characters <= 40_000


def test_shortening_halves_instead_of_trying_every_length(tokenizer: str) -> None:
    prompter = Prompter(tokenizer, 40, "")
    counting = prompter._tokens = Counting(tokenizer)
    prompter.compose(segment(keywords=[], name="x " * 100))
    assert counting.calls <= 14, "200 pieces are halved 8 times"
