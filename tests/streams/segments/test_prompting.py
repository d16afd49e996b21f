"""Segments to prompts: order, length, languages, and what the rationale says."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import SegmentUpdated
from streams.failures import InvalidEvent
from streams.segments.prompting import Prompter
from streams.segments.token_count import Vocabulary
from streams.segments.words import abstract_words, clean, fold, glossary, translate, visible_words
from tests import fakes

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fakes.save_word_tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def prompter(tokenizer: str) -> Prompter:
    return Prompter(tokenizer, 77, "blurry")


def segment(**changes: Any) -> SegmentUpdated:
    given = {
        "event_id": "e1",
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": "coffee",
        "name": "coffee enthusiast",
        "keywords": [
            {"term": "latte", "weight": 2},
            {"term": "espresso", "weight": 9},
            {"term": "croissant", "weight": 4},
        ],
    }
    return SegmentUpdated.model_validate(given | changes)


def about(lines: tuple[str, ...], field: str) -> list[str]:
    return [line.removeprefix(f"{field}: ") for line in lines if line.startswith(f"{field}: ")]


def test_the_template(prompter: Prompter) -> None:
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


def test_repeats_are_said_once(prompter: Prompter) -> None:
    terms = ["Espresso", "espresso", "ESPRESSO ", "latte"]
    event = segment(keywords=[{"term": term} for term in terms], interests=["Latte"], name="latte lovers")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of Espresso and latte, latte lovers, soft light"
    assert "dropped, said before: espresso; ESPRESSO" in about(prompt.rationale, "keywords")
    assert about(prompt.rationale, "interests") == ["dropped, said before: Latte"]


def test_weightless_keywords_are_no_keywords(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "tea", "weight": 0}, {"term": "cake"}])
    prompt = prompter.compose(event)
    assert "tea" not in prompt.text
    assert about(prompt.rationale, "keywords") == ["used: cake", "dropped, their weight is 0: tea"]


def test_names_and_slogans_are_not_drawn_and_the_rationale_says_so(prompter: Prompter) -> None:
    copy = {"headline": "Good morning!", "call_to_action": "Taste it"}
    prompt = prompter.compose(segment(brand={"name": "Brunatna", "features": ["wooden table"]}, copy=copy))
    assert "Brunatna" not in prompt.text
    assert "morning" not in prompt.text
    reason = "left out, a text-to-image model draws names and slogans as garbled letters"
    assert about(prompt.rationale, "brand.name") == [f"{reason}: Brunatna"]
    assert about(prompt.rationale, "copy") == [f"{reason}: Good morning!; Taste it"]
    assert about(prompter.compose(segment()).rationale, "brand.name") == []


def test_every_field_that_has_words_has_a_line(prompter: Prompter) -> None:
    event = segment(
        name="espresso",
        description="Espresso!",
        keywords=[{"term": "espresso", "weight": 0}],
        interests=["Espresso"],
        brand={"name": "B", "features": ["ESPRESSO"]},
        copy={"headline": "H"},
    )
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of ESPRESSO, soft light", "no field but the brand's says it first"
    lines = prompt.rationale
    for field in ("name", "description", "keywords", "interests", "brand.name", "brand.features", "copy"):
        assert about(lines, field) != [], field


def test_a_picture_shows_things_not_ideas(prompter: Prompter) -> None:
    event = segment(
        keywords=[{"term": "healthy lifestyle", "weight": 9}, {"term": "salad", "weight": 2}, {"term": "avocado"}]
    )
    assert prompter.compose(event).text.startswith("an advertising photo of salad and avocado, healthy lifestyle, ")
    only = segment(keywords=[{"term": "lifestyle"}])
    assert prompter.compose(only).text == "an advertising photo of lifestyle, coffee enthusiast, soft light"


def test_interests_and_then_the_name_stand_in_for_keywords(prompter: Prompter) -> None:
    event = segment(keywords=[], interests=["hiking", "tent"])
    assert prompter.compose(event).text == "an advertising photo of hiking and tent, coffee enthusiast, soft light"
    assert prompter.compose(segment(keywords=[])).text == "an advertising photo of coffee enthusiast, soft light"


def test_a_description_gives_the_things_it_names(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "espresso"}], description="People who love a croissant and honey on toast!")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso and croissant, honey, toast, coffee enthusiast, soft light"
    assert about(prompt.rationale, "description") == ["used: croissant; honey; toast"]
    silent = prompter.compose(segment(description="They think a lot."))
    assert about(silent.rationale, "description") == ["left out, it names nothing to be seen"]
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


def test_each_field_has_its_share(prompter: Prompter) -> None:
    event = segment(
        keywords=[{"term": f"thing{n}"} for n in range(9)],
        interests=[f"interest{n}" for n in range(9)],
        brand={"name": "b", "features": [f"feature{n}" for n in range(9)]},
        description="Bread, cheese, tomato, lemon and honey.",
    )
    text = prompter.compose(event).text
    assert [text.count(word) for word in ("thing", "interest", "feature")] == [8, 3, 4]
    assert [word in text for word in ("bread", "cheese", "tomato", "lemon", "honey")] == [True] * 3 + [False] * 2


def test_a_thing_behind_many_ideas_is_shown_and_kept(prompter: Prompter) -> None:
    ideas = sorted(abstract_words())[:9]
    keywords = [{"term": idea, "weight": 9} for idea in ideas] + [{"term": "salad", "weight": 1}]
    prompt = prompter.compose(segment(keywords=keywords))
    assert prompt.text.startswith("an advertising photo of salad, ")
    used, left = about(prompt.rationale, "keywords")
    assert used.startswith("used: salad; ")
    assert "salad" not in left


def test_lists_in_the_rationale_stay_short(prompter: Prompter) -> None:
    def left(count: int) -> str:
        event = segment(keywords=[{"term": f"thing{n:02d}"} for n in range(8 + count)])
        return about(prompter.compose(event).rationale, "keywords")[1].split(": ", 1)[1]

    assert left(8) == "; ".join(f"thing{n:02d}" for n in range(8, 16))
    assert left(9) == left(8) + "; and 1 more"
    endless = prompter.compose(segment(keywords=[{"term": "x" * 80}]))
    assert about(endless.rationale, "keywords") == ["used: " + "x" * 60]


@pytest.mark.parametrize("limit", [12, 16, 20, 24, 77])
def test_prompts_fit_and_the_important_stays(tokenizer: str, limit: int) -> None:
    event = segment(
        keywords=[{"term": f"thing{n} with many words in it", "weight": 50 - n} for n in range(20)],
        interests=["one thing", "another thing"],
        brand={"name": "b", "features": ["wooden table"]},
    )
    prompt = Prompter(tokenizer, limit, "").compose(event)
    assert Vocabulary(tokenizer).count(prompt.text) == prompt.tokens <= limit
    assert prompt.text.startswith("an advertising photo of thing0 with many")
    if limit == 24:
        assert prompt.text == (
            "an advertising photo of thing0 with many words in it and thing1 with many words in it, coffee enthusiast"
        )
        assert "left out, no room: wooden table" in about(prompt.rationale, "brand.features")


def test_a_single_endless_word_is_cut(tokenizer: str) -> None:
    class Letters(Vocabulary):
        def count(self, text: str) -> int:
            return len(text) + 2

    prompter = Prompter(tokenizer, 40, "")
    prompter._vocabulary = Letters(tokenizer)
    prompt = prompter.compose(segment(keywords=[{"term": "x" * 200}]))
    assert prompt.text == "an advertising photo of " + "x" * 14
    assert about(prompt.rationale, "keywords") == ["used: " + "x" * 14]
    whole = prompter.compose(segment(keywords=[{"term": "croissants with almonds"}]))
    assert whole.text == "an advertising photo of croissants"


def test_emoji_and_signs_are_dropped_with_a_note(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "☕🥐"}, {"term": "!!!"}, {"term": "👩‍🍳"}, {"term": "espresso ☕"}])
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso, coffee enthusiast, soft light"
    [note] = [line for line in about(prompt.rationale, "keywords") if "emoji" in line]
    assert note.count("\\U0001f950") == 1
    assert note.isascii()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(latte:1.3)", "latte 1.3"),
        ("<milk>, [cream] {a|b}", "milk cream a b"),
        ("a\u0000b\u202ec\nd", "a b c d"),
        ("#CoffeeLover @home", "CoffeeLover home"),
        ("ｃｏｆｆｅｅ 𝓬𝓾𝓹", "coffee cup"),
        ("mac & cheese", "mac and cheese"),
        ("chef’s  knife", "chef's knife"),
        ("3.2 % milk", "3.2 milk"),
        ("100% juice", "100% juice"),
        ("--steps 9 \\n", "steps 9 n"),
        ("café", "café"),
        ("cafe\u0301", "café"),
        ("☕", ""),
        ("1️⃣", ""),
        ("♥︎", ""),
        ("501", "501"),
        ("\u0301\u0301", ""),
    ],
)
def test_only_words_remain(text: str, words: str) -> None:
    assert clean(text) == words


@pytest.mark.parametrize(
    ("text", "english", "words", "origin"),
    [
        ("kawa", None, "coffee", "glossary"),
        ("KAWĘ", None, "coffee", "glossary"),
        ("gołąbki", None, "cabbage rolls", "glossary"),
        ("golabki", None, "cabbage rolls", "glossary"),
        ("filiżanka kawy", "espresso cup", "espresso cup", "given"),
        ("źdźbło", None, "zdzblo", "folded"),
        ("Łódź", None, "Lodz", "folded"),
        ("coffee cup", None, "coffee cup", "own"),
        ("Fluence", None, "Fluence", "passed"),
        ("kawa", "☕", "coffee", "glossary"),
    ],
)
def test_polish_becomes_english(text: str, english: str | None, words: str, origin: str) -> None:
    term = translate(text, english, "pl", 2.0)
    assert term is not None
    assert (term.words, term.origin, term.original, term.weight) == (words, origin, text, 2.0)


@pytest.mark.parametrize(
    ("text", "words", "origin"),
    [
        ("kawa", "coffee", "glossary"),  # a form that no English text would hold
        ("filiżanka kawy", "cup of coffee", "glossary"),
        ("góry", "mountains", "glossary"),
        ("kremówka", "kremowka", "folded"),
        ("pies", "pies", "own"),  # dogs in Polish, but an English word too
        ("gory", "gory", "own"),  # would be `góry` only without its diacritics
        ("latte", "latte", "own"),
        ("café", "café", "own"),
    ],
)
def test_polish_shows_in_an_event_that_does_not_say_so(text: str, words: str, origin: str) -> None:
    term = translate(text, None, "en")
    assert term is not None
    assert (term.words, term.origin) == (words, origin)


def test_other_languages_pass_as_they_are_and_are_called_untranslated(prompter: Prompter) -> None:
    prompt = prompter.compose(
        segment(language="de", name="Kaffeeliebhaber", keywords=[{"term": "Käse"}], description="Trinkt gern Bier.")
    )
    assert prompt.text == "an advertising photo of Käse, Kaffeeliebhaber, soft light"
    passed = "untranslated, passed on as they are (no English form, not in the glossary)"
    assert about(prompt.rationale, "keywords") == ["used: Käse", f"{passed}: Käse -> Käse"]
    assert about(prompt.rationale, "description") == ["left out, its language is de and there is no description_en"]


def test_a_polish_event_tells_what_became_of_its_words(prompter: Prompter) -> None:
    event = segment(
        language="pl-PL",
        name="Miłośnik kawy",
        description="Pije kawę i je chleb.",
        keywords=[{"term": "żurek", "weight": 3}, {"term": "kremówka", "weight": 2}, {"term": "sernik", "en": "cake"}],
    )
    prompt = prompter.compose(event)
    assert prompt.text == (
        "an advertising photo of sour rye soup and kremowka, cake, bread, coffee enthusiast, soft light"
    )
    notes = about(prompt.rationale, "keywords")
    assert "by the Polish glossary: żurek -> sour rye soup" in notes
    assert "in the event's own English form: sernik -> cake" in notes
    assert "untranslated, diacritics folded (give an English form for better pictures): kremówka -> kremowka" in notes
    assert about(prompt.rationale, "description") == [
        "used: bread",
        "by the Polish glossary: chleb -> bread",
        "dropped, said before: kawę",
    ]


@pytest.mark.parametrize("language", ["pl", "en"])
def test_a_polish_description_is_read_by_the_glossary(prompter: Prompter, language: str) -> None:
    told = "Rano pije kawę z mlekiem, a do filiżanki kawy kładzie drożdżówkę."
    event = segment(language=language, description=told, keywords=[], name="ktoś")
    prompt = prompter.compose(event)
    assert prompt.text == (
        "an advertising photo of morning and coffee, milk, cup of coffee, sweet bun, ktos, soft light"
    )
    mute = prompter.compose(segment(language=language, description="Myśli o życiu."))
    reason = "left out, it is Polish without description_en, and the glossary knows nothing to be seen in it"
    assert about(mute.rationale, "description") == [reason]


def test_english_prose_is_not_taken_for_polish(prompter: Prompter) -> None:
    event = segment(description="They saw lody in Las Vegas, but bake pies and eat honey on toast.")
    assert about(prompter.compose(event).rationale, "description") == ["used: honey; toast"]


def test_interests_and_features_may_carry_english(prompter: Prompter) -> None:
    event = segment(
        language="pl",
        interests=["kawiarnie", {"term": "ręczne parzenie", "en": "hand brewing"}, {"term": "las"}],
        brand={"name": "B", "features": [{"term": "brąz", "en": "brown tones"}]},
    )
    prompt = prompter.compose(event)
    assert "cafe, hand brewing, forest, brown tones" in prompt.text
    assert "in the event's own English form: ręczne parzenie -> hand brewing" in about(prompt.rationale, "interests")


def test_the_glossary_is_sound() -> None:
    entries = glossary()
    assert len(entries) > 500
    for polish, english in entries.items():
        assert polish == fold(polish).casefold() == polish.strip()
        assert english == clean(english) == english.strip() != ""
        assert english.isascii()
    assert "coffee" in visible_words()
    assert not visible_words() & abstract_words()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_examples_need_no_translation(prompter: Prompter, path: Path) -> None:
    given = json.loads(path.read_text("utf-8"))
    if "segment_id" not in given:
        return
    prompt = prompter.compose(SegmentUpdated.model_validate(given))
    assert "untranslated" not in " ".join(prompt.rationale)
    assert prompt.text.isascii() or given["language"] == "en"


def test_nothing_that_could_be_said(prompter: Prompter) -> None:
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
def test_any_event(tokenizer: str, event: SegmentUpdated, limit: int, product: str | None) -> None:
    prompter = Prompter(tokenizer, limit, "")
    prompt = prompter.compose(event, product)
    assert prompt == Prompter(tokenizer, limit, "").compose(event, product)
    assert prompt.tokens <= limit
    assert prompt.text.startswith("an advertising photo of ")
    allowed = set("',-%. ")
    for sign in prompt.text:
        assert sign in allowed or unicodedata.category(sign)[0] in "LMN", hex(ord(sign))
    assert all("\n" not in line for line in prompt.rationale)
