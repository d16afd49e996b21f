"""What the products' page claims, against figures that hold and figures that do not."""

import time

from benchmarks.claims import claims
from benchmarks.training_runs import WAYS, Course, Task, tasks_of

UNTAUGHT = {"fidelity": 0.60, "prior": 0.50, "prior_diversity": 0.40, "diversity": 0.40}


def scores(fidelity, prior=0.5, diversity=0.4, prior_diversity=0.4):
    return {"fidelity": fidelity, "prior": prior, "prior_diversity": prior_diversity, "diversity": diversity}


def without_prior(**figures):
    """Return good figures, but for those of two seeds without the prior."""
    worse = {"prior": 0.80, "diversity": 0.20, "prior_diversity": 0.30}
    seeds = [{**worse, **{name: both[seed] for name, both in figures.items()}} for seed in (0, 1)]
    return {**GOOD, "DreamBooth, no prior": [scores(0.9, **seed) for seed in seeds]}


GOOD = {
    "Textual Inversion": [scores(0.70), scores(0.72)],
    "DreamBooth": [scores(0.85, 0.50, 0.40), scores(0.71, 0.54, 0.36)],
    "DreamBooth, no prior": [scores(0.9, 0.80, 0.20, 0.3), scores(0.9, 0.53, 0.37, 0.3)],
}


def held(ways, untaught=UNTAUGHT):
    return [claim.held for claim in claims("jam", ways, untaught)]


def test_figures_that_hold_are_said_to_hold():
    found = claims("jam", GOOD, UNTAUGHT)
    assert [claim.held for claim in found] == [True] * 6
    assert str(found[0]) == (
        "held: jam: DreamBooth is nearer to the product than Textual Inversion (fidelity): "
        "mean 0.780 > 0.710, so in 1 of 2 seeds"
    )
    assert "0.700 in the worst of 2 seeds, untaught 0.600, +0.100" in str(found[1])


def test_each_claim_falls_by_its_own_figures():
    inversion = GOOD["Textual Inversion"]
    assert held({**GOOD, "Textual Inversion": [scores(0.79)] * 2})[0] is False
    assert held({**GOOD, "Textual Inversion": [scores(0.7), scores(0.64)]})[1] is False
    assert held(GOOD, {**UNTAUGHT, "fidelity": 0.67}) == [True, False, False, True, True, True]
    assert held(without_prior())[3:] == [True, True, True]
    assert held(without_prior(prior=(0.52, 0.51)))[3:] == [False, True, True]
    assert held(without_prior(prior_diversity=(0.4, 0.4)))[3:] == [True, False, True]
    assert held(without_prior(diversity=(0.38, 0.39)))[3:] == [True, True, False]
    equal = claims("jam", {"Textual Inversion": inversion, "DreamBooth": inversion}, UNTAUGHT)[0]
    assert str(equal).startswith("not held: jam: ")


def test_what_was_not_measured_is_not_claimed():
    assert held({"Textual Inversion": GOOD["Textual Inversion"]}) == [True]
    assert held({"DreamBooth, LoRA": [scores(0.9)]}) == []


def test_products_alternate_so_that_their_class_images_are_made_once():
    tasks = tasks_of(["milk", "jam"], WAYS, 3, None)
    assert len(set(tasks)) == 24
    assert [task.product for task in tasks] == ["milk", "jam"] * 12


def test_what_is_left_is_told_by_what_similar_lessons_took(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tasks = tasks_of(["milk", "jam"], WAYS[:2], 2, None)
    course = Course(len(tasks), workers=2)
    assert course.left(tasks) is None
    course.heard(tasks[2], "train", 0, 100)
    now = 1030.0
    course.heard(tasks[2], "train", 50, 100)  # 30 s for 45 hundredths of a DreamBooth lesson
    assert course.left([tasks[2]]) == (30 / 0.45 - 30) / 2
    course.ended(tasks[0], {"seconds": 100.0})
    course.ended(tasks[2], {"seconds": 60.0})
    assert course.left([tasks[1], tasks[3], Task("jam", WAYS[3], 0)]) == (100 + 60 + 80) / 2
