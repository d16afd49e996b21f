"""The claims of the products' page, with figures that support them and figures that do not."""

import time

from benchmarks.claims import check_claims
from benchmarks.training_runs import VARIANTS, RunProgress, Task, make_tasks

BASE = {"fidelity": 0.60, "prior": 0.50, "prior_diversity": 0.40, "diversity": 0.40}


def scores(fidelity, prior=0.5, diversity=0.4, prior_diversity=0.4):
    return {"fidelity": fidelity, "prior": prior, "prior_diversity": prior_diversity, "diversity": diversity}


def without_prior(**figures):
    """Return GOOD with other figures for the two seeds without prior preservation."""
    worse = {"prior": 0.80, "diversity": 0.20, "prior_diversity": 0.30}
    seeds = [{**worse, **{name: both[seed] for name, both in figures.items()}} for seed in (0, 1)]
    return {**GOOD, "DreamBooth, no prior": [scores(0.9, **seed) for seed in seeds]}


GOOD = {
    "Textual Inversion": [scores(0.70), scores(0.72)],
    "DreamBooth": [scores(0.85, 0.50, 0.40), scores(0.71, 0.54, 0.36)],
    "DreamBooth, no prior": [scores(0.9, 0.80, 0.20, 0.3), scores(0.9, 0.53, 0.37, 0.3)],
}


def verdicts(variants, base=BASE):
    return [claim.holds for claim in check_claims("jam", variants, base)]


def test_supported_claims_hold():
    claims = check_claims("jam", GOOD, BASE)
    assert [claim.holds for claim in claims] == [True] * 6
    assert str(claims[0]) == (
        "holds: jam: DreamBooth resembles the product more than Textual Inversion (fidelity): "
        "mean 0.780 > 0.710; above in 1 of 2 seeds"
    )
    assert "0.700 in the worst of 2 seeds, base model 0.600, +0.100" in str(claims[1])


def test_each_claim_fails_on_its_own_figures():
    inversion = GOOD["Textual Inversion"]
    assert verdicts({**GOOD, "Textual Inversion": [scores(0.79)] * 2})[0] is False
    assert verdicts({**GOOD, "Textual Inversion": [scores(0.7), scores(0.64)]})[1] is False
    assert verdicts(GOOD, {**BASE, "fidelity": 0.67}) == [True, False, False, True, True, True]
    assert verdicts(without_prior())[3:] == [True, True, True]
    assert verdicts(without_prior(prior=(0.52, 0.51)))[3:] == [False, True, True]
    assert verdicts(without_prior(prior_diversity=(0.4, 0.4)))[3:] == [True, False, True]
    assert verdicts(without_prior(diversity=(0.38, 0.39)))[3:] == [True, True, False]
    equal = check_claims("jam", {"Textual Inversion": inversion, "DreamBooth": inversion}, BASE)[0]
    assert str(equal).startswith("does not hold: jam: ")


def test_unmeasured_variants_have_no_claims():
    assert verdicts({"Textual Inversion": GOOD["Textual Inversion"]}) == [True]
    assert verdicts({"DreamBooth, LoRA": [scores(0.9)]}) == []


def test_products_alternate():
    tasks = make_tasks(["milk", "jam"], VARIANTS, 3, None)
    assert len(set(tasks)) == 24
    assert [task.product for task in tasks] == ["milk", "jam"] * 12


def test_the_time_left_is_estimated_from_similar_jobs(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tasks = make_tasks(["milk", "jam"], VARIANTS[:2], 2, None)
    progress = RunProgress(len(tasks), workers=2)
    assert progress.seconds_left(tasks) is None
    progress.update(tasks[2], "train", 0, 100)
    now = 1030.0
    progress.update(tasks[2], "train", 50, 100)  # 30 s for 45 % of a DreamBooth job
    assert progress.seconds_left([tasks[2]]) == (30 / 0.45 - 30) / 2
    progress.finish(tasks[0], {"seconds": 100.0})
    progress.finish(tasks[2], {"seconds": 60.0})
    assert progress.seconds_left([tasks[1], tasks[3], Task("jam", VARIANTS[3], 0)]) == (100 + 60 + 80) / 2
