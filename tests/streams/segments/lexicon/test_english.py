"""English nouns and their singulars."""

from __future__ import annotations

import pytest

from streams.segments.lexicon import english


@pytest.mark.parametrize(
    ("words", "lemma", "kind"),
    [
        ("dog", "dog", "animal"),
        ("puppies", "puppy", "animal"),
        ("hiking boots", "hiking boot", "thing"),
        ("loaves", None, None),
        ("children", "child", "person"),
        ("sneakers", "sneaker", "thing"),
        ("glasses", "glasses", "thing"),
        ("mountains", "mountain", "place"),
        ("energy drinks", "energy drink", "food"),
        ("christmas trees", "christmas tree", "plant"),
        ("lifestyle", None, None),
        ("sleep", None, None),
        ("well", None, None),
    ],
)
def test_nouns_for_visible_things(words: str, lemma: str | None, kind: str | None) -> None:
    found = english.noun(words)
    assert (found and found.words, found and found.kind) == (lemma, kind)


def test_the_longest_noun_wins() -> None:
    found = english.longest_noun(["baby", "bottle", "and", "pram"])
    assert found is not None
    assert (found[0].words, found[1]) == ("baby bottle", 2)
    assert english.longest_noun(["quickly"]) is None


def test_a_broader_noun_is_the_main_sense_of_its_word() -> None:
    puppy, helmet = english.noun("puppy"), english.noun("helmet")
    assert puppy is not None
    assert helmet is not None
    assert "dog" in puppy.broader[:2]
    assert "plate" not in helmet.broader  # WordNet: a helmet is an armour plate
