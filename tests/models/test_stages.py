"""Scorers and finishers: named stages that a studio runs if it has any."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch

from models import images
from models.briefs import Brief, StudioPlan, StudioRecipe
from models.errors import Cancelled, OutOfDeviceMemory, StageFailed
from models.networks import Networks
from models.stages import stage
from models.studio import Studio
from tests.models.fakes import (
    FakeEncoder,
    FakeFinisher,
    FakeGenerator,
    FakeReranker,
    FakeScorer,
    FakeUpscaler,
)

BRIEF = Brief("request-1", "a cup of coffee", "blurry", (11, 12, 13), 2)


def studio(scorers=(), finishers=()):
    networks = Networks(
        FakeGenerator(), FakeReranker(), FakeUpscaler(), FakeEncoder(), scorers=scorers, finishers=finishers
    )
    return Studio(StudioPlan(), StudioRecipe("f" * 64, (), {}), networks, torch.device("cpu"))


def raise_in_turn(*errors):
    """Return a function that raises the errors in turn; it returns for None."""
    turns = iter(errors)

    def fail():
        if (error := next(turns)) is not None:
            raise error

    return fail


def test_scores_of_all_scorers_follow_the_rerankers():
    green, blue = FakeScorer("green", 1), FakeScorer("blue", 2)
    plain, judged = (one.render([BRIEF])[0] for one in (studio(), studio((green, blue))))
    for before, after in zip(plain.candidates, judged.candidates, strict=True):
        assert list(after.scores) == ["clip", "clip_logit", "green", "blue"]
        assert before.scores.items() <= after.scores.items()
        assert before.rank == after.rank
    assert len({candidate.scores["green"] for candidate in judged.candidates}) == 3
    assert [picture.content for picture in judged.pictures] == [picture.content for picture in plain.pictures]
    assert green.briefs == ["request-1"]


def test_finishers_improve_each_kept_picture_in_turn():
    plain, finished = (
        one.draw(BRIEF) for one in (studio(), studio(finishers=(FakeFinisher("first"), FakeFinisher("second"))))
    )
    assert [candidate.rank for candidate, _ in finished.kept] == [1, 2]
    for (_, before), (candidate, after) in zip(plain.kept, finished.kept, strict=True):
        assert np.array_equal(after, images.pixels_to_bytes(images.bytes_to_pixels(before) / 4)[0])
        assert list(candidate.scores.items())[2:] == [("first", 2.0), ("second", 3.0)]
        assert finished.candidates[candidate.index] == candidate
    dropped = [candidate for candidate in finished.candidates if candidate.rank is None]
    assert [list(candidate.scores) for candidate in dropped] == [["clip", "clip_logit"]]
    rendering = studio(finishers=(FakeFinisher("first"),)).render([BRIEF])[0]
    assert [picture.scores["first"] for picture in rendering.pictures] == [2.0, 2.0]


def test_progress_names_the_new_stages_in_order():
    reports = []
    full = studio((FakeScorer("green", 1), FakeScorer("blue", 2)), (FakeFinisher("first"), FakeFinisher("second")))
    full.render([BRIEF], lambda *report: reports.append(report))
    assert list(dict.fromkeys(name for name, _, _ in reports)) == [
        "generate",
        "rerank",
        "score",
        "upscale",
        "finish",
        "encode",
    ]
    assert [report[1:] for report in reports if report[0] == "score"] == [(1, 2), (2, 2)]
    assert [report[1:] for report in reports if report[0] == "finish"] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"scorers": (FakeScorer("green", 1, raise_in_turn(None, ValueError("no model"), None)),)}, "The score stage"),
        (
            {"finishers": (FakeFinisher("first", raise_in_turn(None, ValueError("no model"), None)),)},
            "The finish stage",
        ),
    ],
)
def test_a_stage_that_raises_fails_its_brief_only(stages, message):
    briefs = [dataclasses.replace(BRIEF, request_id=f"request-{number}", keep=1) for number in range(3)]
    first, failed, last = studio(**stages).render(briefs)
    assert isinstance(failed, StageFailed)
    assert str(failed) == f"{message} failed with ValueError: no model. The worker's log has the traceback."
    assert [first.request_id, last.request_id] == ["request-0", "request-2"]


def test_a_scorer_must_score_every_candidate():
    scorer = FakeScorer("green", 1)
    scorer.score = lambda pixels, brief: [{"green": 1.0}]
    (failed,) = studio((scorer,)).render([BRIEF])
    assert str(failed).startswith("The score stage failed with ValueError: ")


@pytest.mark.parametrize("cancelled", ["score", "finish"])
def test_a_cancelled_job_ends_at_the_new_stages_too(cancelled):
    def progress(name, done, total):
        if name == cancelled:
            raise Cancelled

    full = studio((FakeScorer("green", 1),), (FakeFinisher("first"),))
    assert [type(result) for result in full.render([BRIEF], progress)] == [Cancelled]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_failing_tensors_are_freed_before_the_cache_is_emptied(monkeypatch, error):
    """The traceback holds the local variables of the calls that failed."""
    tensors, freed = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append([tensor() is None for tensor in tensors]))

    def fill(depth):
        activations = torch.ones(8)
        tensors.append(weakref.ref(activations))
        if depth:
            fill(depth - 1)
        try:
            {}["another error on the way"]
        except KeyError:
            raise error  # noqa: B904

    with pytest.raises(OutOfDeviceMemory, match="ran out of memory in generate"), stage("generate"):
        fill(3)
    assert freed == [[True] * 4]


def test_a_rendering_holds_the_seconds_of_each_stage_of_its_brief():
    with_all = studio(scorers=(FakeScorer("red", 0),), finishers=(FakeFinisher("dimmed"),))
    first, second = with_all.render([BRIEF, dataclasses.replace(BRIEF, request_id="request-2")])
    for rendering in (first, second):
        assert list(rendering.stage_seconds) == ["generate", "rerank", "score", "upscale", "finish", "encode"]
        drawn = sum(value for name, value in rendering.stage_seconds.items() if name != "encode")
        assert 0 < drawn <= rendering.device_seconds
