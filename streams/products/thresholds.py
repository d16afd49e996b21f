"""The minimum scores of a trained concept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from models.errors import ConceptTooWeak
from streams.training_settings import TrainingSettings


def check_thresholds(scores: Mapping[str, float], training: TrainingSettings) -> ConceptTooWeak | None:
    """Return a refusal that names every missed threshold, or None if the scores meet them all.

    A score that is not finite always fails. A missing score fails if the settings define a threshold for it.
    """
    faults = [f"{name} is not a number" for name, value in scores.items() if not math.isfinite(value)]
    faults += _missed(finite_scores(scores), training)
    return ConceptTooWeak(detail="; ".join(faults)) if faults else None


def finite_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the finite scores. JSON cannot hold the others."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _missed(scores: Mapping[str, float], training: TrainingSettings) -> Iterator[str]:
    minimums = {
        "fidelity": training.min_fidelity,
        "fidelity_dino": training.min_fidelity_dino,
        "prompt": training.min_prompt,
        "diversity": training.min_diversity,
    }
    for name, bound in minimums.items():
        if bound is not None and scores.get(name, -math.inf) < bound:
            yield f"{name} {_format_score(scores, name)}, demanded at least {bound:.3f}"
    if training.max_prior is not None and scores.get("prior", math.inf) > training.max_prior:
        yield f"prior {_format_score(scores, 'prior')}, demanded at most {training.max_prior:.3f}"


def _format_score(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.3f}" if name in scores else "not measured"
