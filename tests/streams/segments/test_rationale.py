"""The rationale of a prompt: which words of each field were used, translated or left out."""

from __future__ import annotations

from streams.segments.prompting import Prompter
from tests.streams.segments.examples import about, segment


def test_repeated_terms_are_dropped(prompter: Prompter) -> None:
    terms = ["Espresso", "espresso", "ESPRESSO ", "latte"]
    event = segment(keywords=[{"term": term} for term in terms], interests=["Latte"], name="latte lovers")
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of Espresso and latte, latte lovers, soft light"
    assert "dropped, said before: espresso; ESPRESSO" in about(prompt.rationale, "keywords")
    assert about(prompt.rationale, "interests") == ["dropped, said before: Latte"]


def test_keywords_of_weight_0_are_dropped(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "tea", "weight": 0}, {"term": "cake"}])
    prompt = prompter.compose(event)
    assert "tea" not in prompt.text
    assert about(prompt.rationale, "keywords") == ["used: cake", "dropped, their weight is 0: tea"]


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
    assert prompt.text == "an advertising photo of ESPRESSO, soft light", "only the brand feature comes first"
    lines = prompt.rationale
    for field in ("name", "description", "keywords", "interests", "brand.name", "brand.features", "copy"):
        assert about(lines, field) != [], field


def test_long_lists_are_cut(prompter: Prompter) -> None:
    def left(count: int) -> str:
        event = segment(keywords=[{"term": f"thing{n:02d}"} for n in range(8 + count)])
        return about(prompter.compose(event).rationale, "keywords")[1].split(": ", 1)[1]

    assert left(8) == "; ".join(f"thing{n:02d}" for n in range(8, 16))
    assert left(9) == left(8) + "; and 1 more"
    endless = prompter.compose(segment(keywords=[{"term": "x" * 80}]))
    assert about(endless.rationale, "keywords") == ["used: " + "x" * 60]


def test_entries_without_words_are_dropped(prompter: Prompter) -> None:
    event = segment(keywords=[{"term": "☕🥐"}, {"term": "!!!"}, {"term": "👩‍🍳"}, {"term": "espresso ☕"}])
    prompt = prompter.compose(event)
    assert prompt.text == "an advertising photo of espresso, coffee enthusiast, soft light"
    [note] = [line for line in about(prompt.rationale, "keywords") if "emoji" in line]
    assert note.count("\\U0001f950") == 1
    assert note.isascii()


def test_other_languages_are_listed_as_untranslated(prompter: Prompter) -> None:
    prompt = prompter.compose(
        segment(language="de", name="Kaffeeliebhaber", keywords=[{"term": "Käse"}], description="Trinkt gern Bier.")
    )
    assert prompt.text == "an advertising photo of Käse, Kaffeeliebhaber, soft light"
    passed = "untranslated, passed on as they are (no English form, not in the glossary)"
    assert about(prompt.rationale, "keywords") == ["used: Käse", f"{passed}: Käse -> Käse"]
    assert about(prompt.rationale, "description") == ["left out, its language is de and there is no description_en"]


def test_a_polish_event_lists_its_translations(prompter: Prompter) -> None:
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
