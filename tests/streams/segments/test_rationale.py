"""The rationale of a prompt: what became of each term of each field."""

from __future__ import annotations

from streams.segments.prompting import Prompter
from tests.streams.segments.examples import about, segment


def test_repeated_terms_are_left_out(prompter: Prompter) -> None:
    terms = ["Espresso", "espresso", "ESPRESSO ", "latte"]
    event = segment(keywords=[{"term": term} for term in terms], interests=["Latte"], name="latte lovers")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso and a latte, soft light"
    reason = "left out, another term names the same thing"
    assert f"{reason}: espresso; ESPRESSO" in about(prompt.rationale, "keywords")
    assert about(prompt.rationale, "interests") == [f"{reason}: Latte"]


def test_keywords_of_weight_0_are_left_out(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "tea", "weight": 0}, {"term": "cake"}])
    prompt = prompter.compose(event)
    assert "tea" not in prompt.text
    assert about(prompt.rationale, "keywords") == ["used: a cake", "left out, the weight is 0: tea"]


def test_brand_name_and_slogans_are_left_out(prompter: Prompter) -> None:
    copy = {"headline": "Good morning!", "call_to_action": "Taste it"}
    prompt = prompter.compose(segment(brand={"name": "Brunatna", "features": ["wooden table"]}, copy=copy))
    assert "Brunatna" not in prompt.text
    assert "morning" not in prompt.text
    reason = "left out, a text-to-image model draws names and slogans as garbled letters"
    assert about(prompt.rationale, "brand.name") == [f"{reason}: Brunatna"]
    assert about(prompt.rationale, "copy") == [f"{reason}: Good morning!; Taste it"]
    assert about(prompter.compose(segment()).rationale, "brand.name") == []


def test_every_field_with_words_has_a_line(prompter: Prompter) -> None:
    event = segment(
        name="espresso",
        description="Espresso!",
        keywords=[{"term": "espresso", "weight": 0}],
        interests=["Espresso"],
        brand={"name": "B", "features": ["ESPRESSO"]},
        copy={"headline": "H"},
    )
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso, soft light"
    lines = prompt.rationale
    for field in ("name", "description", "keywords", "interests", "brand.name", "brand.features", "copy"):
        assert about(lines, field) != [], field


def test_long_lists_are_cut(prompter: Prompter) -> None:
    def left(count: int) -> str:
        event = segment(keywords=["tea", "cake", *(f"idea{n:02d}" for n in range(count))])
        return about(prompter.compose(event).rationale, "keywords")[1].split(": ", 1)[1]

    assert left(8) == "; ".join(f"idea{n:02d}" for n in range(8))
    assert left(9) == left(8) + "; and 1 more"
    endless = prompter.compose(segment(keywords=[{"term": "x" * 80}], name="x"))
    assert about(endless.rationale, "keywords") == ["used: " + "x" * 60]


def test_terms_beyond_the_most_important_are_not_read(prompter: Prompter) -> None:
    event = segment(keywords=["tea"] + [f"idea{n}" for n in range(60)], interests=["cake"] * 30)
    rationale = prompter.compose(event).rationale
    assert about(rationale, "keywords")[-1].startswith("left out, beyond the 40 most important: idea39; ")
    assert about(rationale, "interests")[-1].startswith("left out, beyond the 20 most important: cake; ")


def test_entries_without_words_are_left_out(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "☕🥐"}, {"term": "!!!"}, {"term": "👩‍🍳"}, {"term": "espresso ☕"}])
    prompt = prompter.compose(event)
    assert prompt.text.startswith("an advertising photo of espresso")
    [note] = [line for line in about(prompt.rationale, "keywords") if "emoji" in line]
    assert note.count("\\U0001f950") == 1
    assert note.isascii()


def test_untranslated_terms_are_listed(prompter: Prompter) -> None:
    event = segment(language="de", name="Käufer", keywords=["Käse", "Nachhaltigkeit"], description="Er mag Freiheit.")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of cheese, soft light"
    assert about(prompt.rationale, "keywords") == [
        "used: cheese",
        "translated by the word table: Käse -> cheese",
        "left out, untranslated (give an English form): Nachhaltigkeit",
    ]
    assert about(prompt.rationale, "name") == ["left out, untranslated (give an English form): Käufer"]
    assert about(prompt.rationale, "description") == [
        "left out, names nothing that a picture can show: Er mag Freiheit."
    ]


def test_a_language_without_a_table_needs_english_forms(prompter: Prompter) -> None:
    event = segment(language="ja", name="コーヒー", keywords=[{"term": "猫", "en": "cat"}], description="犬が好き")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of a cat, soft light"
    assert about(prompt.rationale, "keywords")[1] == "in the event's own English form: 猫 -> cat"
    reason = "left out, there is no word table for ja and no description_en"
    assert about(prompt.rationale, "description") == [f"{reason}: 犬が好き"]


def test_a_polish_event_lists_its_translations(prompter: Prompter) -> None:
    event = segment(
        language="pl-PL",
        name="Miłośnik kawy",
        description="Pije kawę i je chleb.",
        keywords=[
            {"term": "konewka", "weight": 3},
            {"term": "kremówka", "weight": 2},
            {"term": "sernik", "en": "cake"},
        ],
    )
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of a watering can and a cake, soft light"
    notes = about(prompt.rationale, "keywords")
    assert notes == [
        "used: a watering can (3); a cake",
        "translated by the word table: konewka -> watering can",
        "in the event's own English form: sernik -> cake",
        "left out, untranslated (give an English form): kremówka",
    ]
    assert about(prompt.rationale, "description") == ["left out, the picture shows at most two things: kawę; chleb"]


def test_words_used_without_a_translation_are_named(prompter: Prompter) -> None:
    prompt = prompter.compose(segment(language="pl", name="ktoś", keywords=["kremówka"]))
    assert prompt.text == "an advertising photo of kremowka, soft light"
    assert about(prompt.rationale, "keywords") == [
        "used: kremowka",
        "untranslated, used without diacritics (give an English form for better pictures): kremówka -> kremowka",
    ]
