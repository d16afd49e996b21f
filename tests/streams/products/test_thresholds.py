"""The minimum scores of a trained concept."""

from __future__ import annotations

import math
from typing import Any

import pytest

from streams.products.thresholds import check_thresholds, finite_scores
from streams.training_settings import TrainingSettings

GOOD = {"fidelity": 0.8, "fidelity_dino": 0.6, "prompt": 0.3, "prior": 0.5, "diversity": 0.4, "fidelity_before": 0.5}
ALL: dict[str, Any] = {
    "min_fidelity": 0.7,
    "min_fidelity_dino": 0.5,
    "min_prompt": 0.25,
    "max_prior": 0.6,
    "min_diversity": 0.3,
}


def test_there_are_no_thresholds_by_default() -> None:
    assert check_thresholds(dict.fromkeys(GOOD, 0.0), TrainingSettings()) is None
    assert check_thresholds({}, TrainingSettings()) is None


def test_scores_that_meet_every_threshold_pass() -> None:
    assert check_thresholds(GOOD, TrainingSettings(**ALL)) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fidelity", 0.69, "fidelity 0.690, demanded at least 0.700"),
        ("fidelity_dino", 0.1, "fidelity_dino 0.100, demanded at least 0.500"),
        ("prompt", 0.2, "prompt 0.200, demanded at least 0.250"),
        ("prior", 0.61, "prior 0.610, demanded at most 0.600"),
        ("diversity", 0.2, "diversity 0.200, demanded at least 0.300"),
    ],
)
def test_one_missed_threshold_is_named(name: str, value: float, message: str) -> None:
    refusal = check_thresholds(GOOD | {name: value}, TrainingSettings(**ALL))
    assert refusal is not None
    assert refusal.fields["detail"] == message


def test_every_missed_threshold_is_named() -> None:
    refusal = check_thresholds({"fidelity": 0.1, "prior": 0.9}, TrainingSettings(**ALL))
    assert refusal is not None
    assert str(refusal.fields["detail"]).split("; ") == [
        "fidelity 0.100, demanded at least 0.700",
        "fidelity_dino not measured, demanded at least 0.500",
        "prompt not measured, demanded at least 0.250",
        "diversity not measured, demanded at least 0.300",
        "prior 0.900, demanded at most 0.600",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["fidelity", "prior"])
def test_a_score_that_is_not_finite_always_fails(name: str, value: float) -> None:
    for settings in (TrainingSettings(), TrainingSettings(**ALL)):
        refusal = check_thresholds(GOOD | {name: value}, settings)
        assert refusal is not None
        assert f"{name} is not a number" in str(refusal)
    assert name not in finite_scores(GOOD | {name: value})
