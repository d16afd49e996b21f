"""Choosing the candidates to keep: the highest CLIP score first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.briefs import Candidate


def rank_candidates(candidates: Sequence[Candidate], keep: int) -> list[Candidate]:
    """Return the candidates of one format in the same order; the best `keep` have ranks from 1 on, the others None.

    The highest `clip` score comes first; if scores are equal, the lowest index. Fewer than `keep` candidates all get a
    rank.
    """
    best = sorted(candidates, key=lambda candidate: (-candidate.scores["clip"], candidate.index))[:keep]
    ranks = {candidate.index: rank for rank, candidate in enumerate(best, start=1)}
    return [replace(candidate, rank=ranks.get(candidate.index)) for candidate in candidates]


def kept_candidates(ranked: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that have a rank, best first."""
    return sorted((candidate for candidate in ranked if candidate.rank is not None), key=lambda kept: kept.rank or 0)
