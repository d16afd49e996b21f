"""The card `family.json` beside the weights: the defaults of a family of weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import UnusableCard


@dataclass(frozen=True)
class Family:
    """The defaults of a family of weights; None if its card sets none.

    size: native side of a square picture in pixels.
    training: per training method, the options that differ from those of its paper.
    """

    size: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    training: dict[str, dict[str, float]] = field(default_factory=dict)


def _is_number(value: object, minimum: float = 0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= minimum


def _is_training(value: object) -> bool:
    """Return whether the value is a table of numbers per method."""
    return isinstance(value, dict) and all(
        isinstance(options, dict) and all(isinstance(number, int | float) for number in options.values())
        for options in value.values()
    )


# The fields of a card, and the check of each value.
FIELDS: dict[str, Callable[[Any], bool]] = {
    "size": lambda value: isinstance(value, int) and _is_number(value, 8),
    "steps": lambda value: isinstance(value, int) and _is_number(value, 1),
    "guidance_scale": _is_number,
    "negative_prompt": lambda value: isinstance(value, str),
    "training": _is_training,
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
