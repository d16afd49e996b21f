"""The things that the family can draw, and the words for them."""

import json
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("concepts.txt")
OWN = "own:"


@dataclass(frozen=True)
class Concept:
    """One drawable thing: `label` finds its art, `noun` and `synonyms` name it, `tags` surround it.

    `drawn` concepts are what the UNet is trained to draw; CLIP and the judge know the others too.
    """

    label: str
    noun: str
    synonyms: tuple[str, ...]
    tags: tuple[str, ...]
    shelf: str
    hexcode: str
    drawn: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every phrase that means this concept and no other."""
        return (self.noun, *self.synonyms)


def load(emojibase: Path) -> list[Concept]:
    """Read the list beside this module; tags and code points come from emojibase (`package` root)."""
    entries = {e["label"]: e for e in json.loads((emojibase / "en" / "data.json").read_text("utf-8"))}
    concepts, shelf = [], ""
    for raw in LIST.read_text("utf-8").splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            shelf = line.strip("[]")
            continue
        concepts.append(_concept(line, shelf, entries))
    return _without_ambiguous_tags(concepts)


def save(concepts: list[Concept], path: Path) -> None:
    """Write the concepts as JSON, so that later stages need no package."""
    path.write_text(json.dumps([c.__dict__ for c in concepts], indent=1, ensure_ascii=False), "utf-8")


def read(path: Path) -> list[Concept]:
    """Read what `save` wrote."""
    rows = json.loads(path.read_text("utf-8"))
    return [Concept(**{**r, "synonyms": tuple(r["synonyms"]), "tags": tuple(r["tags"])}) for r in rows]


def _concept(line: str, shelf: str, entries: dict[str, dict[str, object]]) -> Concept:
    drawn = not line.startswith("~")
    fields = [field.strip() for field in line.removeprefix("~").split("|")] + ["", ""]
    label = fields[0]
    synonyms = tuple(s.strip().lower() for s in fields[2].split(",") if s.strip())
    if label.startswith(OWN):
        return Concept(label, fields[1], synonyms, (), shelf, label.removeprefix(OWN), drawn)
    entry = entries[label]
    noun = (fields[1] or label).lower()
    tags = entry.get("tags") or ()
    words = tuple(str(tag).lower() for tag in tags if _is_word(str(tag)))  # type: ignore[attr-defined]
    return Concept(label, noun, synonyms, words, shelf, str(entry["hexcode"]).lower(), drawn)


def _is_word(tag: str) -> bool:
    return tag.isascii() and len(tag) > 1 and all(part.isalpha() for part in tag.replace("-", " ").split())


def _without_ambiguous_tags(concepts: list[Concept]) -> list[Concept]:
    """Drop tags that name another concept: "apple" among a pear's tags would draw the wrong fruit."""
    owners = {name: c.label for c in concepts for name in c.names}
    cleaned = []
    for c in concepts:
        tags = tuple(t for t in c.tags if owners.get(t, c.label) == c.label)
        cleaned.append(Concept(c.label, c.noun, c.synonyms, tags, c.shelf, c.hexcode, c.drawn))
    return cleaned
