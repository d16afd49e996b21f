"""English nouns that a picture can show, from WordNet's noun hierarchy (Fellbaum 1998, https://wordnet.princeton.edu).

A noun is visible if its first sense, which is the most frequent one, lies in a physical part of the hierarchy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Lexicographer files: https://wordnet.princeton.edu/documentation/lexnames5wn
KINDS = {
    5: "animal",
    6: "thing",
    8: "body",
    13: "food",
    15: "place",
    17: "thing",
    18: "person",
    20: "plant",
    27: "matter",
}
PLACES = (
    "building.6", "room.6", "area.6", "way.6", "facility.6", "shop.6", "dwelling.6", "tract.15", "land.17",
    "geological_formation.17", "body_of_water.17", "natural_elevation.17", "shore.17",
)  # fmt: skip
"""Roots of things that are places: a lemma, and the number of its lexicographer file."""
_MAX_PARENTS = 4
_LEMMA = re.compile(r"[a-z][a-z'-]*(_[a-z'-]+){0,3}")


@dataclass(frozen=True)
class Synset:
    """A set of synonyms. instance: it names one individual, such as a city."""

    file: int
    words: tuple[str, ...]
    parents: tuple[str, ...]
    instance: bool


@dataclass
class Lemma:
    """A word. senses: (offset of the synset, count in WordNet's tagged texts), the most frequent first."""

    senses: list[tuple[str, int]] = field(default_factory=list)
    verb_senses: int = 0
    verb_count: int = 0

    @property
    def count(self) -> int:
        """How often the tagged texts use it as a noun."""
        return sum(count for _, count in self.senses)


class WordNet:
    """WordNet's nouns. folder: holds `data.noun` and `index.sense`."""

    def __init__(self, folder: Path) -> None:
        self.synsets = dict(_synsets(folder / "data.noun"))
        self.lemmas = _lemmas(folder / "index.sense")
        roots = {_root(self, name) for name in PLACES}
        self._places = {offset for offset in self.synsets if self._ancestors(offset) & roots}

    def kind(self, lemma: str) -> str | None:
        """Return the kind of thing that a noun usually names, None if it is not a common noun for something visible."""
        entry = self.lemmas.get(lemma)
        if entry is None or not entry.senses or not _LEMMA.fullmatch(lemma):
            return None
        offset, _ = entry.senses[0]
        synset = self.synsets[offset]
        if synset.instance or not any(word == lemma for word in synset.words):
            return None
        return "place" if offset in self._places else KINDS.get(synset.file)

    def parents(self, lemma: str, known: set[str]) -> list[str]:
        """Return the known nouns that name a broader kind of the same thing, the nearest first: `puppy` gives `dog`."""
        found: list[str] = []
        level = list(self.synsets[self.lemmas[lemma].senses[0][0]].parents)
        while level and len(found) < _MAX_PARENTS:
            words = [
                word.replace("_", " ")
                for offset in level
                for word in self.synsets[offset].words
                if self._mainly(word, offset)
            ]
            found += [word for word in words if word in known and word != lemma and word not in found]
            level = [parent for offset in level for parent in self.synsets[offset].parents]
        return found[:_MAX_PARENTS]

    def _mainly(self, word: str, offset: str) -> bool:
        """Return whether this is the first sense of a word: a helmet is an armour plate, but a plate is a dish."""
        entry = self.lemmas.get(word.lower())
        return entry is not None and bool(entry.senses) and entry.senses[0][0] == offset

    def is_often_verb(self, lemma: str) -> bool:
        """Return whether the word is used as a verb at least half as often as as a noun."""
        entry = self.lemmas[lemma]
        return entry.verb_senses > 0 and 2 * entry.verb_count >= entry.count

    def _ancestors(self, offset: str) -> set[str]:
        found, open_ = {offset}, [offset]
        while open_:
            for parent in self.synsets[open_.pop()].parents:
                if parent not in found:
                    found.add(parent)
                    open_.append(parent)
        return found


def _synsets(path: Path) -> Iterator[tuple[str, Synset]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue  # the licence
        offset, file, _, size, *rest = line.split(" ")
        words, rest = rest[: 2 * int(size, 16) : 2], rest[2 * int(size, 16) :]
        pointers = [rest[1 + 4 * number : 3 + 4 * number] for number in range(int(rest[0]))]
        parents = tuple(target for symbol, target in pointers if symbol in {"@", "@i"})
        yield offset, Synset(int(file), tuple(words), parents, any(symbol == "@i" for symbol, _ in pointers))


def _lemmas(path: Path) -> dict[str, Lemma]:
    found: dict[str, Lemma] = {}
    ordered = sorted(line.split() for line in path.read_text(encoding="utf-8").splitlines())
    for key, offset, _, count in sorted(ordered, key=lambda row: int(row[2])):
        word, _, sense = key.partition("%")
        lemma = found.setdefault(word, Lemma())
        if sense.startswith("1"):
            lemma.senses.append((offset, int(count)))
        elif sense.startswith("2"):
            lemma.verb_senses += 1
            lemma.verb_count += int(count)
    return found


def _root(net: WordNet, name: str) -> str:
    lemma, _, file = name.partition(".")
    return next(offset for offset, _ in net.lemmas[lemma].senses if net.synsets[offset].file == int(file))
