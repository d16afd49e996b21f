"""Which figures a learned product must reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from models.errors import ConceptTooWeak
from streams.training_settings import TrainingSettings


def too_weak(scores: Mapping[str, float], training: TrainingSettings) -> ConceptTooWeak | None:
    """Return the refusal that names every broken threshold, None where none is.

    A figure that is no number passes nothing, and neither does one that was not measured but is demanded.
    """
    faults = [f"{name} is not a number" for name, value in scores.items() if not math.isfinite(value)]
    faults += _broken(finite(scores), training)
    return ConceptTooWeak(detail="; ".join(faults)) if faults else None


def finite(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that are numbers, which alone can be told in JSON."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _broken(scores: Mapping[str, float], training: TrainingSettings) -> Iterator[str]:
    least = {
        "fidelity": training.min_fidelity,
        "fidelity_dino": training.min_fidelity_dino,
        "prompt": training.min_prompt,
        "diversity": training.min_diversity,
    }
    for name, bound in least.items():
        if bound is not None and scores.get(name, -math.inf) < bound:
            yield f"{name} {_figure(scores, name)}, demanded at least {bound:.3f}"
    if training.max_prior is not None and scores.get("prior", math.inf) > training.max_prior:
        yield f"prior {_figure(scores, 'prior')}, demanded at most {training.max_prior:.3f}"


def _figure(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.3f}" if name in scores else "not measured"
