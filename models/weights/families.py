"""What a family of weights says about its own use: the card `family.json` beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import UnusableCard


@dataclass(frozen=True)
class Family:
    """What a family of weights says about its own use; None where it says nothing.

    size: native side of a square picture in pixels.
    training: per method of learning, the options that differ from its paper's.
    """

    size: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    training: dict[str, dict[str, float]] = field(default_factory=dict)


def _is_number(value: object, least: float = 0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


def _is_training(value: object) -> bool:
    """Per method a table of numbers."""
    return isinstance(value, dict) and all(
        isinstance(options, dict) and all(isinstance(number, int | float) for number in options.values())
        for options in value.values()
    )


# What a card may state of a family, and what can be meant by it.
STATED: dict[str, Callable[[Any], bool]] = {
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
    """Return what a card states. Raises UnusableCard: naming the first value that cannot be."""
    for key, possible in STATED.items():
        if card.get(key) is not None and not possible(card[key]):
            detail = f"its {key} is {json.dumps(card[key])[:80]}"
            raise UnusableCard(path=f"{path.parent.name}/{path.name}", detail=detail)
    return Family(**{key: card[key] for key in STATED if card.get(key) is not None})
