"""The card `family.json` beside the weights: the defaults of a family of weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import UnusableCard

MOST_NAMES, MOST_WORDS, MOST_CHARACTERS, MOST_PHRASES, MOST_IN_ALL = 5000, 100, 100, 8000, 80_000
"""Limits of a vocabulary: names, words of a name, characters of each, names and words, characters of all. One message
carries it all, within the limits of `models.wire_format`.
"""


@dataclass(frozen=True)
class Family:
    """The defaults of a family of weights; None if its card sets none.

    size: native side of a square picture in pixels.
    training: per training method, the options that differ from those of its paper.
    vocabulary: the things that the weights draw, each with words that mean or suggest it; empty if they draw anything.
    """

    size: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    training: dict[str, dict[str, float]] = field(default_factory=dict)
    vocabulary: dict[str, list[str]] = field(default_factory=dict)


def _is_number(value: object, minimum: float = 0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= minimum


def _is_training(value: object) -> bool:
    """Return whether the value is a table of numbers per method."""
    return isinstance(value, dict) and all(
        isinstance(options, dict) and all(isinstance(number, int | float) for number in options.values())
        for options in value.values()
    )


def _is_vocabulary(value: object) -> bool:
    """Return whether the value lists words for each name. Every prompt searches it, so its size has limits."""
    return (
        isinstance(value, dict)
        and len(value) <= MOST_NAMES
        and all(isinstance(words, list) and len(words) <= MOST_WORDS for words in value.values())
        and all(map(_is_phrase, phrases := [*value, *(word for words in value.values() for word in words)]))
        and len(phrases) <= MOST_PHRASES
        and sum(map(len, phrases)) <= MOST_IN_ALL
    )


def _is_phrase(value: object) -> bool:
    return isinstance(value, str) and value.strip() != "" and len(value) <= MOST_CHARACTERS


# The fields of a card, and the check of each value.
FIELDS: dict[str, Callable[[Any], bool]] = {
    "size": lambda value: isinstance(value, int) and _is_number(value, 8),
    "steps": lambda value: isinstance(value, int) and _is_number(value, 1),
    "guidance_scale": _is_number,
    "negative_prompt": lambda value: isinstance(value, str),
    "training": _is_training,
    "vocabulary": _is_vocabulary,
}


def read_card(path: Path) -> dict[str, Any]:
    """Return the content of a card. Raises UnusableCard."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnusableCard(path=f"{path.parent.name}/{path.name}", detail="it is not JSON") from error
    if not isinstance(card, dict):
        raise UnusableCard(path=f"{path.parent.name}/{path.name}", detail=f"it holds {json.dumps(card)[:40]}")
    return card


def parse_card(card: dict[str, Any], path: Path) -> Family:
    """Return the family of a card's content. Raises UnusableCard with the first value that is not valid."""
    for key, is_valid in FIELDS.items():
        if card.get(key) is not None and not is_valid(card[key]):
            detail = f"its {key} is {json.dumps(card[key])[:80]}"
            raise UnusableCard(path=f"{path.parent.name}/{path.name}", detail=detail)
    return Family(**{key: card[key] for key in FIELDS if card.get(key) is not None})
