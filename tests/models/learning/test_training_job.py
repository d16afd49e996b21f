"""Training jobs on a tiny studio: the studio does not change, a kill changes nothing, stock diffusers reads the files."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from models.briefs import Brief, Concept, StudioPlan, TrainingJob, TrainingResult
from models.errors import Cancelled, Refused, TrainingDiverged, UnusablePhotos, WeightsNotFound
from models.learning import dreambooth
from models.learning.class_images import class_images
from models.learning.dreambooth import DreamBooth
from models.learning.method_options import method_options
from models.learning.photos import prepare_photos
from models.learning.training_job import run_training_job, train_concept
from models.learning.training_run import TrainingRun, seeds_for
from models.opening import open_studio
from models.photo_files import PhotoFile
from models.stages import ignore_steps
from models.studio import Studio
from models.subjects import placeholder
from tests import tiny
from tests.models.learning.photo_files import photo_file

METHODS = ("textual_inversion", "dreambooth", "dreambooth_lora")
FAST = {
    "textual_inversion": {"steps": 6, "learning_rate": 0.05, "batch": 2, "vectors": 2},
    "dreambooth": {"steps": 6, "learning_rate": 1e-3, "batch": 2, "class_images": 4},
    "dreambooth_lora": {"steps": 6, "learning_rate": 0.02, "batch": 2, "class_images": 4},
}


class RecordingReporter:
    """Records progress and checkpoints; cancels the job at its n-th report after the photos."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.reports: list[tuple[str, int, int]] = []
        self.checkpoints: list[tuple[int, str]] = []
        self._cancel_at = cancel_at

    def progress(self, stage: str, done: int, total: int) -> None:
        self.reports.append((stage, done, total))
        if stage != "photos" and sum(name != "photos" for name, _, _ in self.reports) == self._cancel_at:
            raise Cancelled

    def report_checkpoint(self, step: int, path: str) -> None:
        assert Path(path).is_file()
        self.checkpoints.append((step, path))


@pytest.fixture(scope="module")
def studio(tiny_plan: StudioPlan) -> Studio:
    opened = open_studio(tiny_plan)
    opened.training = FAST
    return opened


def photo(seed: int) -> PhotoFile:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return photo_file(buffer.getvalue())


def job(folder: Path, method: str = "dreambooth", **changes: object) -> TrainingJob:
    return TrainingJob(
        **{
            "request_id": "r1",
            "product_id": "milk",
            "class_noun": "milk carton",
            "placeholder_token": placeholder("milk", method),
            "method": method,
            "photos": tuple(photo(seed) for seed in range(3)),
            "seed": 5,
            "workdir": str(folder),
            "checkpoint_every": 2,
            "checkpoint_seconds": 0.0,
        }
        | changes
    )


def trained_concept(result: TrainingResult, method: str) -> Concept:
    return Concept("milk", method, result.path, result.sha256, placeholder("milk", method), "milk carton")


def fingerprint(studio: Studio) -> str:
    pipeline = studio.generator.pipeline
    digest = hashlib.sha256(str(len(pipeline.tokenizer)).encode())
    for module in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def generate(studio: Studio, prompt: str, concept: Concept | None) -> torch.Tensor:
    brief = Brief("b", prompt, "", (1, 2), 1, concept=concept)
    with studio.apply_concept(brief) as applied_prompt:
        return studio.generator.generate(applied_prompt, "", brief.seeds).clone()


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest, studio: Studio, tmp_path_factory: pytest.TempPathFactory):
    before = fingerprint(studio)
    reporter = RecordingReporter()
    given = job(tmp_path_factory.mktemp("trained"), request.param)
    result = run_training_job(studio, given, reporter)
    return request.param, given, result, reporter, before


def test_a_job_ends_with_a_file_scores_and_pictures(trained):
    method, _, result, reporter, _ = trained
    assert hashlib.sha256(Path(result.path).read_bytes()).hexdigest() == result.sha256
    assert result.steps == FAST[method]["steps"]
    measured = {"fidelity", "prompt", "prior", "prior_diversity", "diversity"}
    others = {"photos_refused"} if method == "textual_inversion" else {"photos_refused", "prior_preserved"}
    assert set(result.scores) == measured | {f"{name}_before" for name in measured} | others
    changed = {name for name in measured if result.scores[name] != result.scores[f"{name}_before"]}
    assert changed == (measured - {"prior", "prior_diversity"} if method == "textual_inversion" else measured)
    assert result.scores["photos_refused"] == 0
    assert result.scores.get("prior_preserved", 1.0) == 1.0
    assert all(np.isfinite(score) for score in result.scores.values())
    assert [picture.rank for picture in result.pictures] == [1, 2]
    assert all(Image.open(io.BytesIO(picture.content)).size == (128, 128) for picture in result.pictures)
    assert [step for step, _ in reporter.checkpoints] == [2, 4, 6]
    assert {stage for stage, _, _ in reporter.reports} >= {"photos", "train", "evaluate"}
    assert ("prior" in {stage for stage, _, _ in reporter.reports}) == (method != "textual_inversion")
    assert all(0 <= done <= total for _, done, total in reporter.reports)


def test_the_studio_is_bit_identical_after_training_and_after_a_brief_with_the_concept(trained, studio):
    method, _, result, _, before = trained
    plain = generate(studio, "a photo of a jar", None)
    assert fingerprint(studio) == before
    with_concept = generate(studio, f"a photo of a {placeholder('milk', method)} jar", trained_concept(result, method))
    assert fingerprint(studio) == before
    assert torch.equal(generate(studio, "a photo of a jar", None), plain)
    assert not torch.equal(with_concept, generate(studio, f"a photo of a {placeholder('milk', method)} jar", None))


def test_a_concept_leaves_the_model_if_the_brief_fails(trained, studio):
    method, _, result, _, before = trained
    with (
        pytest.raises(ZeroDivisionError),
        studio.apply_concept(Brief("b", "x", "", (1,), 1, concept=trained_concept(result, method))),
    ):
        raise ZeroDivisionError
    assert fingerprint(studio) == before


def stock_pipeline(studio: Studio):
    """Return a stock pipeline with copies of the studio's networks."""
    from diffusers import StableDiffusionPipeline

    parts = {name: copy.deepcopy(part) for name, part in studio.generator.pipeline.components.items()}
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_stock_diffusers_reads_the_file_and_generates_the_same_pictures(trained, studio, tmp_path):
    method, given, result, _, _ = trained
    pipeline = stock_pipeline(studio)
    if method == "textual_inversion":
        pipeline.load_textual_inversion(result.path)
    elif method == "dreambooth_lora":
        pipeline.load_lora_weights(result.path)
    else:
        config = tmp_path / "unet"
        pipeline.unet.save_config(config)
        pipeline.unet = type(pipeline.unet).from_single_file(result.path, config=str(config))
    assert_same_pictures(
        studio, pipeline, f"a photo of a {given.placeholder_token} milk carton", trained_concept(result, method)
    )


def assert_same_pictures(studio: Studio, pipeline: Any, prompt: str, concept: Concept) -> None:
    """Assert that the stock pipeline generates our pictures with the concept, and that those without it differ."""
    ours = generate(studio, prompt, concept)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    theirs = pipeline(
        [prompt] * 2,
        num_inference_steps=studio.generator.sampling.steps,
        guidance_scale=studio.generator.sampling.guidance_scale,
        negative_prompt=[""] * 2,
        generator=generators,
        output_type="pt",
    ).images
    assert torch.allclose(ours, theirs, atol=1e-3)
    assert not torch.allclose(ours, generate(studio, prompt, None), atol=1e-2)


def test_only_the_placeholders_rows_are_added(studio, tmp_path):
    result = run_training_job(studio, job(tmp_path, "textual_inversion"), RecordingReporter())
    tensors = load_file(result.path)
    assert list(tensors) == ["<milk>"]
    assert tensors["<milk>"].shape == (2, 32)
    table = studio.generator.pipeline.text_encoder.get_input_embeddings().weight.data
    original = table.clone()
    with studio.apply_concept(Brief("b", "<milk>", "", (1,), 1, concept=trained_concept(result, "textual_inversion"))):
        during = studio.generator.pipeline.text_encoder.get_input_embeddings().weight.data
        assert torch.equal(during[: len(original)], original)
        assert torch.equal(during[len(original) :], tensors["<milk>"])


def test_two_placeholders_can_be_applied_together(studio, tmp_path):
    concepts = []
    for product in ("milk", "jam"):
        given = job(tmp_path / product, "textual_inversion", placeholder_token=f"<{product}>", steps=2)
        result = run_training_job(studio, given, RecordingReporter())
        concepts.append(
            Concept(product, "textual_inversion", result.path, result.sha256, f"<{product}>", "milk carton")
        )
    from models.rendering.concept_shelf import ConceptShelf

    before, shelf = fingerprint(studio), ConceptShelf(1)
    with shelf.apply(studio.generator.pipeline, concepts):
        pipeline = studio.generator.pipeline
        prompt = pipeline.maybe_convert_prompt("<milk> with <jam>", pipeline.tokenizer)
        assert prompt == "<milk> <milk>_1 with <jam> <jam>_1"
    assert fingerprint(studio) == before


@pytest.mark.parametrize("method", METHODS)
def test_a_job_cancelled_several_times_ends_with_the_same_bytes(studio, tmp_path, method):
    whole = run_training_job(studio, job(tmp_path / "whole", method), RecordingReporter())
    rng = np.random.default_rng(11)
    for _ in range(3):
        with pytest.raises(Cancelled):
            run_training_job(
                studio, job(tmp_path / "killed", method), RecordingReporter(cancel_at=int(rng.integers(1, 7)))
            )
    resumed = run_training_job(studio, job(tmp_path / "killed", method), RecordingReporter())
    assert resumed.sha256 == whole.sha256
    assert resumed.scores == whole.scores


KILLED = {
    "textual_inversion": {"steps": 60},
    "dreambooth": {"steps": 16, "class_images": 12},
}


def list_files(folder: str) -> set[str]:
    """Return the files below a folder. Unlike `Path.rglob`, `os.walk` goes on if a folder vanishes."""
    return {f"{path}/{name}" for path, _, names in os.walk(folder) for name in names}


def run_job_until_killed(studio: Studio, given: TrainingJob, changes: int, delay: float) -> bool:
    """Run the job in a forked process; return whether it was killed before it finished.

    It is killed `delay` seconds after its folder has changed `changes` times: time alone would hit other states on a
    busy machine.
    """
    seen = list_files(given.workdir)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            run_training_job(studio, given, RecordingReporter())
            os._exit(0)
        os._exit(1)
    while changes:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        changes, seen = changes - ((now := list_files(given.workdir)) != seen), now
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", KILLED)
def test_a_job_killed_at_ten_random_moments_writes_the_bytes_of_an_uninterrupted_one(studio, tmp_path, method):
    def given(folder: str) -> TrainingJob:
        return job(tmp_path / folder, method, checkpoint_every=1, **KILLED[method])

    whole = run_training_job(studio, given("whole"), RecordingReporter())
    chance, kills, runs, seen = random.Random(7), 0, 0, set()
    while kills < 10:  # a run that finished before its kill gives way to a new one
        if run_job_until_killed(studio, given(f"run-{runs}"), chance.randint(1, 6), chance.uniform(0, 0.03)):
            kills += 1
            seen.add(tuple(sorted(path.name for path in (tmp_path / f"run-{runs}").rglob("*.safetensors"))))
        else:
            runs += 1
        assert runs < 12, f"only {kills} runs were killed before they finished"
    assert len(seen) > 3  # the kills hit different states
    for number in range(runs + 1):
        resumed = run_training_job(studio, given(f"run-{number}"), RecordingReporter())
        assert Path(resumed.path).read_bytes() == Path(whole.path).read_bytes()
        assert resumed.scores == whole.scores
        assert (tmp_path / f"run-{number}" / "losses.json").read_text() == (
            tmp_path / "whole" / "losses.json"
        ).read_text()


def test_class_images_are_made_once_per_noun(studio, tmp_path):
    cache = str(tmp_path / "cache")
    first, second = RecordingReporter(), RecordingReporter()
    one = run_training_job(studio, job(tmp_path / "one", class_cache=cache), first)
    two = run_training_job(studio, job(tmp_path / "two", class_cache=cache), second)
    assert "prior" in {stage for stage, _, _ in first.reports}
    assert "prior" not in {stage for stage, _, _ in second.reports}
    assert one.sha256 == two.sha256


def test_class_images_are_generated_without_guidance(studio, tmp_path):
    run_training_job(studio, job(tmp_path), RecordingReporter())
    (path,) = tmp_path.glob("class-*/*.safetensors")
    seeds = seeds_for("class", "milk carton", FAST["dreambooth"]["class_images"])
    prompt = dreambooth.class_prompt("milk carton")
    free, guided = (one.generate(prompt, "", seeds) for one in (studio.generator.unguided(), studio.generator))
    assert torch.equal(load_file(path)["pixels"], free.mul(255).round().to(torch.uint8))
    assert not torch.equal(free, guided)


def class_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("class-*/*.safetensors")}


def test_class_images_survive_an_interruption(studio, tmp_path):
    whole, parts = RecordingReporter(), RecordingReporter(cancel_at=8)
    one = run_training_job(studio, job(tmp_path / "whole", class_images=10), whole)
    with pytest.raises(Cancelled):
        run_training_job(studio, job(tmp_path / "parts", class_images=10), parts)
    complete = class_files(tmp_path / "parts")
    assert sorted(complete) == ["00000.safetensors", "00004.safetensors"]  # two buckets of four were complete
    rest = RecordingReporter()
    two = run_training_job(studio, job(tmp_path / "parts", class_images=10), rest)
    assert [done for stage, done, total in rest.reports if (stage, total) == ("prior", 10)] == [8]
    assert class_files(tmp_path / "parts") == class_files(tmp_path / "whole")
    assert one.sha256 == two.sha256


def test_a_truncated_class_image_file_is_replaced(studio, tmp_path):
    one = run_training_job(studio, job(tmp_path / "one"), RecordingReporter())
    (truncated,) = (tmp_path / "one").glob("class-*/00000.safetensors")
    two = tmp_path / "two" / truncated.parent.name
    two.mkdir(parents=True)
    (two / truncated.name).write_bytes(truncated.read_bytes()[:99])
    assert run_training_job(studio, job(tmp_path / "two"), RecordingReporter()).sha256 == one.sha256
    assert (two / truncated.name).read_bytes() == truncated.read_bytes()


def test_no_class_images_without_prior_preservation(studio, tmp_path):
    reporter = RecordingReporter()
    result = run_training_job(studio, job(tmp_path, prior_loss_weight=0.0), reporter)
    assert "prior" not in {stage for stage, _, _ in reporter.reports}
    assert result.scores["prior_preserved"] == 0.0


def test_a_given_concept_is_only_scored(trained, studio, tmp_path):
    method, given, result, _, before = trained
    files = {path: path.read_bytes() for path in Path(given.workdir).rglob("*") if path.is_file()}
    reporter = RecordingReporter()
    job_with_concept = replace(
        given, request_id="r2", workdir=str(tmp_path / "none"), concept=trained_concept(result, method)
    )
    scored = run_training_job(studio, job_with_concept, reporter)
    assert {stage for stage, _, _ in reporter.reports}.isdisjoint({"train", "prior"})
    assert reporter.checkpoints == []
    assert (scored.scores, scored.steps, scored.sha256) == (result.scores, result.steps, result.sha256)
    assert [picture.content for picture in scored.pictures] != []
    assert not (tmp_path / "none").exists()
    assert {path: path.read_bytes() for path in Path(given.workdir).rglob("*") if path.is_file()} == files
    assert fingerprint(studio) == before


def test_a_missing_concept_file_is_refused(studio, tmp_path):
    missing = Concept("milk", "dreambooth", str(tmp_path / "concept.safetensors"), "0" * 64, "sks", "milk carton")
    with pytest.raises(WeightsNotFound):
        run_training_job(studio, job(tmp_path, concept=missing), RecordingReporter())


@pytest.mark.parametrize("method", METHODS)
def test_a_diverging_job_fails_each_time_and_writes_no_concept(studio, tmp_path, method):
    for _ in range(2):
        with pytest.raises(TrainingDiverged):
            run_training_job(studio, job(tmp_path, method, learning_rate=1e30), RecordingReporter())
    assert not (tmp_path / "concept.safetensors").exists()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_weights_too_large_for_the_concepts_file_are_refused(studio, tmp_path, monkeypatch):
    concept_tensors = DreamBooth.concept_tensors

    def too_large(learner: DreamBooth) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            learner.parameters["conv_in.bias"][0] = 70_000.0
        return concept_tensors(learner)

    monkeypatch.setattr(DreamBooth, "concept_tensors", too_large)
    with pytest.raises(TrainingDiverged, match="too large for the concept's file"):
        run_training_job(studio, job(tmp_path), RecordingReporter())
    assert not (tmp_path / "concept.safetensors").exists()


def test_a_model_with_two_text_encoders_is_refused_with_a_code(tmp_path):
    plan = tiny.family(tmp_path / "family")
    xl = open_studio(replace(plan, diffusion=str(tiny.sdxl_folder(tmp_path / "family" / "xl"))))
    with pytest.raises(Refused, match="two text encoders") as caught:
        run_training_job(xl, job(tmp_path / "job"), RecordingReporter())
    assert caught.value.code == "unsupported_training"


def test_refused_photos_are_counted_and_losses_are_written(studio, tmp_path):
    photos = (photo_file(b"<html>"), *(photo(seed) for seed in range(3)), photo(1))
    result = run_training_job(studio, job(tmp_path, "textual_inversion", photos=photos), RecordingReporter())
    assert result.scores["photos_refused"] == 2
    assert len(json.loads((tmp_path / "losses.json").read_text())) == 6


def test_dino_adds_a_second_fidelity_and_changes_neither_concept_nor_recipe(studio, tiny_plan, tmp_path):
    with_dino = open_studio(replace(tiny_plan, dino=str(tiny.dino_folder(tmp_path / "dino"))))
    with_dino.training = FAST
    assert with_dino.recipe == studio.recipe
    plain = run_training_job(studio, job(tmp_path / "plain", "textual_inversion"), RecordingReporter())
    result = run_training_job(with_dino, job(tmp_path / "dino-job", "textual_inversion"), RecordingReporter())
    assert result.sha256 == plain.sha256
    assert result.scores.keys() - plain.scores.keys() == {"fidelity_dino", "fidelity_dino_before"}
    assert all(-1 <= result.scores[name] <= 1 for name in ("fidelity_dino", "fidelity_dino_before"))
    assert result.scores["fidelity_dino"] not in (result.scores["fidelity"], result.scores["fidelity_dino_before"])


def test_a_missing_dino_fails_before_training(tiny_plan, tmp_path):
    reporter = RecordingReporter()
    missing = open_studio(replace(tiny_plan, dino=str(tmp_path / "nowhere")))
    with pytest.raises(WeightsNotFound, match="dino"):
        run_training_job(missing, job(tmp_path), reporter)
    assert reporter.reports == []


def test_stock_diffusers_reads_unet_and_text_encoder_from_one_file(studio, family_folder, tmp_path):
    before = fingerprint(studio)
    result = run_training_job(studio, job(tmp_path, train_text_encoder=True), RecordingReporter())
    assert fingerprint(studio) == before
    base = stock_pipeline(studio)
    unchanged = {"vae": base.vae, "scheduler": base.scheduler}
    pipeline = type(base).from_single_file(result.path, config=str(family_folder / "diffusion"), **unchanged)
    pipeline.set_progress_bar_config(disable=True)
    base_weights = base.text_encoder.state_dict()
    weights = dict(pipeline.text_encoder.named_parameters())
    changed = [name for name, value in weights.items() if (value - base_weights[name]).abs().max() > 2e-3]
    assert len(changed) > len(weights) / 2
    assert_same_pictures(studio, pipeline, "a photo of a sks milk carton", trained_concept(result, "dreambooth"))
    assert fingerprint(studio) == before

    config = tmp_path / "unet"
    base.unet.save_config(config)
    alone = type(base.unet).from_single_file(result.path, config=str(config)).state_dict()
    assert all(torch.equal(value, alone[name]) for name, value in pipeline.unet.state_dict().items())


def test_unusable_photos_are_refused_before_training(studio, tmp_path):
    reporter = RecordingReporter()
    with pytest.raises(UnusablePhotos):
        run_training_job(studio, job(tmp_path, photos=(photo(0), photo(0), photo_file(b"<html>"))), reporter)
    assert {stage for stage, _, _ in reporter.reports} == {"photos"}


def test_early_stopping_and_snr_weighting_take_effect(studio, tmp_path, monkeypatch):
    monkeypatch.setattr("models.learning.training.MEASURE_EVERY", 1)
    monkeypatch.setattr("models.learning.training.has_converged", lambda losses: losses.numel() >= 3)
    given, reporter = job(tmp_path, early_stopping=True, snr_gamma=5.0), RecordingReporter()
    result = run_training_job(studio, given, reporter)
    assert result.steps == 3
    assert reporter.checkpoints[-1][0] == 3
    second = RecordingReporter()
    assert run_training_job(studio, given, second).sha256 == result.sha256
    assert {(done, total) for stage, done, total in second.reports if stage == "train"} == {(3, 6)}


@pytest.mark.parametrize("method", METHODS)
def test_training_does_not_depend_on_the_precision_of_the_studio(studio, tiny_plan, tmp_path, method):
    """It starts from the file's own weights in float32, so a studio in bfloat16 trains the same concept."""
    narrow = open_studio(replace(tiny_plan, dtype="bfloat16"))
    narrow.training = FAST
    changes = {} if method == "textual_inversion" else {"prior_loss_weight": 0.0}
    found = []
    for number, one in enumerate((studio, narrow)):
        given = job(tmp_path / str(number), method, steps=2, **changes)
        run = TrainingRun(one, given, RecordingReporter(), method_options(given, FAST))
        photos = prepare_photos(given.photos, one.generator.size, given.photo_limits, ignore_steps)
        found.append(load_file(train_concept(run, photos.pixels).path))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_concept_whose_pictures_are_not_finite_has_diverged(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(studio.reranker, "score", lambda *_: pytest.fail("not reached"))
    generate_pixels = studio.generator.generate

    def broken(prompt, *rest, **options):
        pixels = generate_pixels(prompt, *rest, **options)
        return pixels * (float("nan") if "sks" in prompt else 1.0)

    monkeypatch.setattr(studio.generator, "generate", broken)
    with pytest.raises(TrainingDiverged, match="no picture of the concept can be made; lower the learning rate"):
        run_training_job(studio, job(tmp_path, prior_loss_weight=0.0, steps=2), RecordingReporter())


def test_class_images_come_in_buckets_never_all_at_once(studio, tmp_path):
    """10,000 of 512 pixels would take 31 GB."""
    given = job(tmp_path, class_images=10)
    parts = class_images(TrainingRun(studio, given, RecordingReporter(), method_options(given, FAST)), 10)
    assert iter(parts) is parts
    assert [len(part) for part in parts] == [4, 4, 2]
