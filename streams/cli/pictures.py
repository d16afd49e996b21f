"""The score text of pictures, the same in every command."""

from __future__ import annotations

from collections.abc import Mapping


def ranking_score(scores: Mapping[str, float]) -> str:
    """Return the first score of a picture, which decided its rank, as text such as `clip 0.578`."""
    return next((f"{name} {value:.3f}" for name, value in scores.items()), "")
