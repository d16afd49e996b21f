"""File extension and score text of pictures, the same in every command."""

from __future__ import annotations

from collections.abc import Mapping

FILE_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def ranking_score(scores: Mapping[str, float]) -> str:
    """Return the first score of a picture, which decided its rank, as text such as `clip 0.578`."""
    return next((f"{name} {value:.3f}" for name, value in scores.items()), "")
