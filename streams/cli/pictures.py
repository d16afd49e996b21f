"""The texts beside pictures, the same in every command."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def ranking_score(scores: Mapping[str, float]) -> str:
    """Return the first score of a picture, which decided its rank, as text such as `clip 0.578`."""
    return next((f"{name} {value:.3f}" for name, value in scores.items()), "")


def rank_label(rank: int, picture_format: str, formats: Collection[str]) -> str:
    """Return `Rank 1`, or `Story, rank 1` if the pictures have several formats: each format has its own ranks."""
    return f"Rank {rank}" if len(formats) == 1 else f"{picture_format.capitalize()}, rank {rank}"
