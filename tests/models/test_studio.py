"""The studio's contract, on the real (tiny) networks and on the fakes; then tests of one of the two."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from models.briefs import Brief, Concept, StudioPlan, StudioRecipe
from models.errors import Cancelled, OutOfDeviceMemory, StageFailed
from models.networks import Networks
from models.stages import stage
from models.studio import Studio
from tests.models.fakes import FakeEncoder, FakeGenerator, FakeReranker, FakeUpscaler

BRIEF = Brief("request-1", "a cup of coffee", "blurry", (11, 12, 13), 2)


def fake_studio(generator=None, **stages):
    networks = Networks(generator or FakeGenerator(), FakeReranker(), FakeUpscaler(), FakeEncoder(), **stages)
    return Studio(StudioPlan(), StudioRecipe("f" * 64, (), {}), networks, torch.device("cpu"))


@pytest.fixture(params=["fake", "real"])
def any_studio(request):
    return fake_studio() if request.param == "fake" else request.getfixturevalue("tiny_studio")


def files(rendering):
    return [picture.content for picture in rendering.pictures]


def test_the_best_are_kept_and_every_candidate_is_listed(any_studio):
    (rendering,) = any_studio.render([BRIEF])
    assert rendering.request_id == "request-1"
    assert [(c.index, c.seed, c.format) for c in rendering.candidates] == [
        (0, 11, "square"),
        (1, 12, "square"),
        (2, 13, "square"),
    ]
    scores = [candidate.scores["clip"] for candidate in rendering.candidates]
    order = sorted(range(3), key=lambda index: -scores[index])
    assert [rendering.candidates[index].rank for index in order] == [1, 2, None]
    assert [picture.seed for picture in rendering.pictures] == [BRIEF.seeds[index] for index in order[:2]]
    assert [picture.scores["clip"] for picture in rendering.pictures] == sorted(scores, reverse=True)[:2]
    assert rendering.device_seconds > 0


def test_each_format_has_its_own_candidates_and_ranks(any_studio):
    (rendering,) = any_studio.render([dataclasses.replace(BRIEF, formats=("square", "landscape"), keep=1)])
    assert [(picture.rank, picture.format) for picture in rendering.pictures] == [(1, "square"), (1, "landscape")]
    square, landscape = rendering.pictures
    assert square.width == square.height
    assert landscape.width > landscape.height
    assert len(rendering.candidates) == 6


def test_bytes_do_not_depend_on_neighbours_or_place(any_studio):
    """A brief gives the same bytes alone, in any batch, at any place, and with more candidates than one bucket holds."""
    briefs = [
        BRIEF,
        Brief("request-2", "a salad", "", (5,), 1),
        Brief("request-3", "żółty ser", "blurry", (1, 2, 3, 4, 5, 6), 3, ("story", "square")),
    ]
    alone = {brief.request_id: files(any_studio.render([brief])[0]) for brief in briefs}
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 1)):
        batch = [briefs[index] for index in order]
        for brief, rendering in zip(batch, any_studio.render(batch), strict=True):
            assert files(rendering) == alone[brief.request_id]


def test_keeping_more_than_the_candidates_keeps_all(any_studio):
    (rendering,) = any_studio.render([dataclasses.replace(BRIEF, keep=9)])
    assert [picture.rank for picture in rendering.pictures] == [1, 2, 3]


def test_every_stage_reports_progress_to_its_end(any_studio):
    reports = []
    any_studio.render([BRIEF], lambda *report: reports.append(report))
    assert list(dict.fromkeys(name for name, _, _ in reports)) == ["generate", "rerank", "upscale", "encode"]
    for name in ("generate", "rerank", "upscale", "encode"):
        own = [(done, total) for reported, done, total in reports if reported == name]
        assert own[-1][0] == own[-1][1]
        assert all(0 < done <= total for done, total in own)
        assert own == sorted(own)


def test_a_cancelled_brief_ends_with_cancelled(any_studio):
    def cancel(*_):
        raise Cancelled

    assert [type(result) for result in any_studio.render([BRIEF], cancel)] == [Cancelled]


def test_warming_up_draws_one_bucket_if_the_plan_compiles():
    studio = fake_studio()
    studio.warm_up()
    assert studio.generator.calls == []
    studio.plan = dataclasses.replace(studio.plan, compile=True, bucket=3)
    studio.warm_up()
    assert [len(seeds) for _, _, seeds, _ in studio.generator.calls] == [3]


def test_a_failed_brief_does_not_affect_the_others():
    calls = iter([None, ValueError("boom\nsecond line"), None, torch.OutOfMemoryError("CUDA out of memory"), None])

    def fail():
        if (error := next(calls)) is not None:
            raise error

    briefs = [Brief(f"request-{seed}", "x", "", (seed,), 1) for seed in range(5)]
    results = fake_studio(FakeGenerator(fail)).render(briefs)
    assert [type(result).__name__ for result in results] == [
        "Rendering",
        "StageFailed",
        "Rendering",
        "OutOfDeviceMemory",
        "Rendering",
    ]
    assert isinstance(results[1], StageFailed)
    assert str(results[1]) == "The generate stage failed with ValueError: boom. The worker's log has the traceback."
    assert isinstance(results[3], OutOfDeviceMemory)
    assert "generate" in str(results[3])


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with ..."),
    ],
)
def test_a_lost_device_ends_the_process(error, capsys):
    def fail():
        raise error

    with pytest.raises(SystemExit, match=r"The device is lost in generate: CUDA error: .* encountered$"):
        fake_studio(FakeGenerator(fail)).render([BRIEF])
    assert "CUDA error" in capsys.readouterr().err


def test_a_device_that_cannot_load_is_a_failed_stage():
    with pytest.raises(StageFailed, match="no kernel image"), stage("load"):
        raise torch.AcceleratorError("CUDA error: no kernel image is available")


@pytest.mark.parametrize(
    ("method", "token", "prompt"),
    [
        ("dreambooth", "sks", "a photo of sks jar of jam, desks"),
        ("textual_inversion", "<jam>", "a photo of <jam>, desks"),
    ],
)
def test_the_reranker_reads_the_class_noun_for_the_placeholder(monkeypatch, method, token, prompt):
    studio = fake_studio()
    concept = Concept("jam", method, "/nowhere", "0" * 64, token, "jar of jam")
    monkeypatch.setattr(Studio, "apply_concept", lambda self, brief, progress: contextlib.nullcontext(brief.prompt))
    studio.render([dataclasses.replace(BRIEF, prompt=prompt, concept=concept)])
    assert studio.reranker.prompts == ["a photo of jar of jam, desks"]


def test_a_real_picture_names_its_origin(tiny_studio):
    (rendering,) = tiny_studio.render([BRIEF])
    best = rendering.pictures[0]
    read = Image.open(io.BytesIO(best.content))
    assert read.size == (best.width, best.height) == (128, 128)
    packet = read.info["XML:com.adobe.xmp"]
    for part in (
        "trainedAlgorithmicMedia",
        "a cup of coffee",
        str(best.seed),
        tiny_studio.recipe.fingerprint,
        "request-1",
    ):
        assert part in packet
    assert np.asarray(read).std() > 1
