"""Visible nouns of WordNet, on a few synsets in its file format."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lexicon.wordnet import PLACES, WordNet


@pytest.fixture
def net(tmp_path: Path) -> WordNet:
    """Return a WordNet of: animal > dog > puppy; armour plate > helmet; park (a tract of land); Paris; idea."""
    roots = [(f"{900 + n:08}", *name.split(".")) for n, name in enumerate(PLACES)]
    tract = next(offset for offset, lemma, _ in roots if lemma == "tract")
    synsets = [
        ("00000001", 5, ["animal"], []),
        ("00000002", 5, ["dog", "domestic_dog"], ["@ 00000001"]),
        ("00000003", 5, ["puppy"], ["@ 00000002"]),
        ("00000004", 6, ["plate"], []),
        ("00000005", 6, ["armor_plate", "plate"], []),
        ("00000006", 6, ["helmet"], ["@ 00000005"]),
        ("00000007", 15, ["park"], [f"@ {tract}"]),
        ("00000008", 15, ["Paris"], ["@i 00000007"]),
        ("00000009", 9, ["idea"], []),
        *((offset, int(file), [lemma], []) for offset, lemma, file in roots),
    ]
    data = ["  1 the licence"]
    for offset, file, words, parents in synsets:
        pointers = "".join(f" {pointer} n 0000" for pointer in parents)
        listed = " ".join(f"{word} 0" for word in words)
        data.append(f"{offset} {file:02} n {len(words):02x} {listed} {len(parents):03}{pointers} | gloss")
    (tmp_path / "data.noun").write_text("\n".join(data))
    senses = [
        ("dog", 1, "00000002", 1, 40), ("dog", 2, "00000099", 1, 2), ("puppy", 1, "00000003", 1, 3),
        ("animal", 1, "00000001", 1, 9), ("plate", 1, "00000004", 1, 9), ("plate", 1, "00000005", 2, 1),
        ("armor_plate", 1, "00000005", 1, 0), ("helmet", 1, "00000006", 1, 1), ("park", 1, "00000007", 1, 4),
        ("park", 2, "00000098", 1, 3), ("paris", 1, "00000008", 1, 5), ("idea", 1, "00000009", 1, 90),
        *((lemma, 1, offset, 1, 1) for offset, lemma, _ in roots if lemma != "park"),
    ]  # fmt: skip
    lines = [f"{word}%{kind}:00:00:: {offset} {sense} {count}" for word, kind, offset, sense, count in senses]
    (tmp_path / "index.sense").write_text("\n".join(lines))
    return WordNet(tmp_path)


@pytest.mark.parametrize(
    ("lemma", "kind"), [("dog", "animal"), ("park", "place"), ("paris", None), ("idea", None), ("absent", None)]
)
def test_kinds(net: WordNet, lemma: str, kind: str | None) -> None:
    assert net.kind(lemma) == kind


def test_parents_are_known_nouns_in_their_main_sense(net: WordNet) -> None:
    assert net.parents("puppy", {"animal", "dog", "plate"}) == ["dog", "animal"]
    assert net.parents("puppy", {"animal"}) == ["animal"]
    assert net.parents("helmet", {"plate", "armor plate"}) == ["armor plate"]


def test_a_word_is_often_a_verb_by_its_counts(net: WordNet) -> None:
    assert net.is_often_verb("park")
    assert not net.is_often_verb("dog")
    assert not net.is_often_verb("puppy")
