"""Lessons on a tiny studio: nothing but the concept changes, a kill changes nothing, stock diffusers reads the files."""

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

from models.briefs import Brief, Concept, StudioPlan, TrainingJob, TrainingResult, placeholder
from models.errors import Cancelled, Refused, TrainingDiverged, UnusablePhotos, WeightsNotFound
from models.learning import dreambooth, training_job
from models.learning.dreambooth import DreamBooth
from models.opening import open_studio
from models.studio import Studio
from tests import tiny

METHODS = ("textual_inversion", "dreambooth", "dreambooth_lora")
FAST = {
    "textual_inversion": {"steps": 6, "learning_rate": 0.05, "batch": 2, "vectors": 2},
    "dreambooth": {"steps": 6, "learning_rate": 1e-3, "batch": 2, "class_images": 4},
    "dreambooth_lora": {"steps": 6, "learning_rate": 0.02, "batch": 2, "class_images": 4},
}


class Listener:
    """Hears a lesson; gives it up at the n-th sign of progress."""

    def __init__(self, give_up_at: int | None = None) -> None:
        self.signs: list[tuple[str, int, int]] = []
        self.checkpoints: list[tuple[int, str]] = []
        self._give_up_at = give_up_at

    def progress(self, stage: str, done: int, total: int) -> None:
        self.signs.append((stage, done, total))
        if len(self.signs) == self._give_up_at:
            raise Cancelled

    def checkpointed(self, step: int, path: str) -> None:
        assert Path(path).is_file()
        self.checkpoints.append((step, path))


@pytest.fixture(scope="module")
def studio(tiny_plan: StudioPlan) -> Studio:
    opened = open_studio(tiny_plan)
    opened.training = FAST
    return opened


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


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


def concept_of(learned: TrainingResult, method: str) -> Concept:
    return Concept("milk", method, learned.path, learned.sha256, placeholder("milk", method), "milk carton")


def fingerprint(studio: Studio) -> str:
    pipeline = studio.generator.pipeline
    digest = hashlib.sha256(str(len(pipeline.tokenizer)).encode())
    for module in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def drawn(studio: Studio, prompt: str, concept: Concept | None) -> torch.Tensor:
    brief = Brief("b", prompt, "", (1, 2), 1, concept=concept)
    with studio.applied(brief) as worded:
        return studio.generator.generate(worded, "", brief.seeds).clone()


@pytest.fixture(scope="module", params=METHODS)
def taught(request: pytest.FixtureRequest, studio: Studio, tmp_path_factory: pytest.TempPathFactory):
    before = fingerprint(studio)
    listener = Listener()
    given = job(tmp_path_factory.mktemp("taught"), request.param)
    learned = training_job.learn(studio, given, listener)
    return request.param, given, learned, listener, before


def test_a_lesson_ends_with_a_file_scores_and_pictures(taught):
    method, _, learned, listener, _ = taught
    assert hashlib.sha256(Path(learned.path).read_bytes()).hexdigest() == learned.sha256
    assert learned.steps == FAST[method]["steps"]
    measured = {"fidelity", "prompt", "prior", "prior_diversity", "diversity"}
    more = {"photos_refused"} if method == "textual_inversion" else {"photos_refused", "prior_preserved"}
    assert set(learned.scores) == measured | {f"{name}_before" for name in measured} | more
    moved = {name for name in measured if learned.scores[name] != learned.scores[f"{name}_before"]}
    assert moved == (measured - {"prior", "prior_diversity"} if method == "textual_inversion" else measured)
    assert learned.scores["photos_refused"] == 0
    assert learned.scores.get("prior_preserved", 1.0) == 1.0
    assert all(np.isfinite(score) for score in learned.scores.values())
    assert [picture.rank for picture in learned.pictures] == [1, 2]
    assert all(Image.open(io.BytesIO(picture.content)).size == (128, 128) for picture in learned.pictures)
    assert [step for step, _ in listener.checkpoints] == [2, 4, 6]
    assert {stage for stage, _, _ in listener.signs} >= {"train", "evaluate"}
    assert ("prior" in {stage for stage, _, _ in listener.signs}) == (method != "textual_inversion")
    assert all(0 <= done <= total for _, done, total in listener.signs)


def test_the_studio_is_bit_identical_after_a_lesson_and_after_a_concepts_job(taught, studio):
    method, _, learned, _, before = taught
    plain = drawn(studio, "a photo of a jar", None)
    assert fingerprint(studio) == before
    with_concept = drawn(studio, f"a photo of a {placeholder('milk', method)} jar", concept_of(learned, method))
    assert fingerprint(studio) == before
    assert torch.equal(drawn(studio, "a photo of a jar", None), plain)
    assert not torch.equal(with_concept, drawn(studio, f"a photo of a {placeholder('milk', method)} jar", None))


def test_a_concept_is_taken_out_again_when_the_job_fails(taught, studio):
    method, _, learned, _, before = taught
    with (
        pytest.raises(ZeroDivisionError),
        studio.applied(Brief("b", "x", "", (1,), 1, concept=concept_of(learned, method))),
    ):
        raise ZeroDivisionError
    assert fingerprint(studio) == before


def stock(studio: Studio):
    """A stock pipeline with its own copies of the studio's networks."""
    from diffusers import StableDiffusionPipeline

    parts = {name: copy.deepcopy(part) for name, part in studio.generator.pipeline.components.items()}
    made = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def test_stock_diffusers_reads_the_file_and_draws_the_same_pictures(taught, studio, tmp_path):
    method, given, learned, _, _ = taught
    pipeline = stock(studio)
    if method == "textual_inversion":
        pipeline.load_textual_inversion(learned.path)
    elif method == "dreambooth_lora":
        pipeline.load_lora_weights(learned.path)
    else:
        config = tmp_path / "unet"
        pipeline.unet.save_config(config)
        pipeline.unet = type(pipeline.unet).from_single_file(learned.path, config=str(config))
    same_pictures(studio, pipeline, f"a photo of a {given.placeholder_token} milk carton", concept_of(learned, method))


def same_pictures(studio: Studio, pipeline: Any, prompt: str, concept: Concept) -> None:
    """A stock pipeline draws what we draw with the concept, and that is not what we draw without it."""
    ours = drawn(studio, prompt, concept)
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
    assert not torch.allclose(ours, drawn(studio, prompt, None), atol=1e-2)


def test_only_the_placeholders_rows_move(studio, tmp_path):
    learned = training_job.learn(studio, job(tmp_path, "textual_inversion"), Listener())
    tensors = load_file(learned.path)
    assert list(tensors) == ["<milk>"]
    assert tensors["<milk>"].shape == (2, 32)
    table = studio.generator.pipeline.text_encoder.get_input_embeddings().weight.data
    original = table.clone()
    with studio.applied(Brief("b", "<milk>", "", (1,), 1, concept=concept_of(learned, "textual_inversion"))):
        during = studio.generator.pipeline.text_encoder.get_input_embeddings().weight.data
        assert torch.equal(during[: len(original)], original)
        assert torch.equal(during[len(original) :], tensors["<milk>"])


def test_two_words_may_be_applied_together(studio, tmp_path):
    shelf_concepts = []
    for product in ("milk", "jam"):
        given = job(tmp_path / product, "textual_inversion", placeholder_token=f"<{product}>", steps=2)
        learned = training_job.learn(studio, given, Listener())
        word = (f"<{product}>", "milk carton")
        shelf_concepts.append(Concept(product, "textual_inversion", learned.path, learned.sha256, *word))
    from models.rendering.concept_shelf import ConceptShelf

    before, shelf = fingerprint(studio), ConceptShelf(1)
    with shelf.applied(studio.generator.pipeline, shelf_concepts):
        pipeline = studio.generator.pipeline
        worded = pipeline.maybe_convert_prompt("<milk> with <jam>", pipeline.tokenizer)
        assert worded == "<milk> <milk>_1 with <jam> <jam>_1"
    assert fingerprint(studio) == before


@pytest.mark.parametrize("method", METHODS)
def test_a_lesson_killed_again_and_again_ends_with_the_same_bytes(studio, tmp_path, method):
    whole = training_job.learn(studio, job(tmp_path / "whole", method), Listener())
    rng = np.random.default_rng(11)
    for _ in range(3):
        with pytest.raises(Cancelled):
            training_job.learn(studio, job(tmp_path / "killed", method), Listener(give_up_at=int(rng.integers(1, 7))))
    resumed = training_job.learn(studio, job(tmp_path / "killed", method), Listener())
    assert resumed.sha256 == whole.sha256
    assert resumed.scores == whole.scores


KILLED = {
    "textual_inversion": {"steps": 60},
    "dreambooth": {"steps": 16, "class_images": 12},
}


def killed_lesson(studio: Studio, given: TrainingJob, seconds: float) -> bool:
    """Learn in a forked process that the kernel kills after so many seconds; True if that was before its end."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            training_job.learn(studio, given, Listener())
            os._exit(0)
        os._exit(1)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", KILLED)
def test_a_trainer_killed_at_ten_random_moments_writes_the_bytes_of_an_uninterrupted_one(studio, tmp_path, method):
    def given(folder: str) -> TrainingJob:
        return job(tmp_path / folder, method, checkpoint_every=1, **KILLED[method])

    start = time.perf_counter()
    whole = training_job.learn(studio, given("whole"), Listener())
    usual = time.perf_counter() - start
    chance, kills, runs, seen = random.Random(7), 0, 0, set()
    while kills < 10:  # a run that was done before its kill makes room for the next one
        if killed_lesson(studio, given(f"run-{runs}"), chance.uniform(0.02, 0.4) * usual):
            kills += 1
            seen.add(tuple(sorted(path.name for path in (tmp_path / f"run-{runs}").rglob("*.safetensors"))))
        else:
            runs += 1
        assert runs < 12, f"only {kills} runs were killed before their end"
    assert len(seen) > 3  # they were killed in different states
    for number in range(runs + 1):
        resumed = training_job.learn(studio, given(f"run-{number}"), Listener())
        assert Path(resumed.path).read_bytes() == Path(whole.path).read_bytes()
        assert resumed.scores == whole.scores
        assert (tmp_path / f"run-{number}" / "losses.json").read_text() == (
            tmp_path / "whole" / "losses.json"
        ).read_text()


def test_class_images_are_made_once_per_noun(studio, tmp_path):
    cache = str(tmp_path / "cache")
    first, second = Listener(), Listener()
    one = training_job.learn(studio, job(tmp_path / "one", class_cache=cache), first)
    two = training_job.learn(studio, job(tmp_path / "two", class_cache=cache), second)
    assert "prior" in {stage for stage, _, _ in first.signs}
    assert "prior" not in {stage for stage, _, _ in second.signs}
    assert one.sha256 == two.sha256


def test_class_images_are_what_the_model_draws_without_guidance(studio, tmp_path):
    training_job.learn(studio, job(tmp_path), Listener())
    (path,) = tmp_path.glob("class-*/*.safetensors")
    seeds = training_job.seeds_for("class", "milk carton", FAST["dreambooth"]["class_images"])
    prompt = dreambooth.class_prompt("milk carton")
    free, guided = (one.generate(prompt, "", seeds) for one in (studio.generator.unguided(), studio.generator))
    assert torch.equal(load_file(path)["pixels"], free.mul(255).round().to(torch.uint8))
    assert not torch.equal(free, guided)


def class_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("class-*/*.safetensors")}


def test_class_images_that_were_made_before_an_interruption_are_kept(studio, tmp_path):
    whole, parts = Listener(), Listener(give_up_at=8)
    one = training_job.learn(studio, job(tmp_path / "whole", class_images=10), whole)
    with pytest.raises(Cancelled):
        training_job.learn(studio, job(tmp_path / "parts", class_images=10), parts)
    kept = class_files(tmp_path / "parts")
    assert sorted(kept) == ["00000.safetensors", "00004.safetensors"]  # two buckets of four were done
    rest = Listener()
    two = training_job.learn(studio, job(tmp_path / "parts", class_images=10), rest)
    assert [done for stage, done, total in rest.signs if (stage, total) == ("prior", 10)] == [8]
    assert class_files(tmp_path / "parts") == class_files(tmp_path / "whole")
    assert one.sha256 == two.sha256


def test_a_torn_class_image_is_made_anew(studio, tmp_path):
    one = training_job.learn(studio, job(tmp_path / "one"), Listener())
    (torn,) = (tmp_path / "one").glob("class-*/00000.safetensors")
    two = tmp_path / "two" / torn.parent.name
    two.mkdir(parents=True)
    (two / torn.name).write_bytes(torn.read_bytes()[:99])
    assert training_job.learn(studio, job(tmp_path / "two"), Listener()).sha256 == one.sha256
    assert (two / torn.name).read_bytes() == torn.read_bytes()


def test_without_prior_no_class_image_is_made(studio, tmp_path):
    listener = Listener()
    learned = training_job.learn(studio, job(tmp_path, prior_loss_weight=0.0), listener)
    assert "prior" not in {stage for stage, _, _ in listener.signs}
    assert learned.scores["prior_preserved"] == 0.0


def test_a_concept_learned_before_is_scored_and_nothing_else(taught, studio, tmp_path):
    method, given, learned, _, before = taught
    standing = {path: path.read_bytes() for path in Path(given.workdir).rglob("*") if path.is_file()}
    listener = Listener()
    asked = replace(given, request_id="r2", workdir=str(tmp_path / "none"), concept=concept_of(learned, method))
    scored = training_job.learn(studio, asked, listener)
    assert {stage for stage, _, _ in listener.signs}.isdisjoint({"train", "prior"})
    assert listener.checkpoints == []
    assert (scored.scores, scored.steps, scored.sha256) == (learned.scores, learned.steps, learned.sha256)
    assert [picture.content for picture in scored.pictures] != []
    assert not (tmp_path / "none").exists()
    assert {path: path.read_bytes() for path in Path(given.workdir).rglob("*") if path.is_file()} == standing
    assert fingerprint(studio) == before


def test_scoring_a_file_that_is_not_the_concept_says_so(studio, tmp_path):
    missing = Concept("milk", "dreambooth", str(tmp_path / "concept.safetensors"), "0" * 64, "sks", "milk carton")
    with pytest.raises(WeightsNotFound):
        training_job.learn(studio, job(tmp_path, concept=missing), Listener())


@pytest.mark.parametrize("method", METHODS)
def test_a_lesson_that_diverges_is_refused_again_and_again_and_writes_no_concept(studio, tmp_path, method):
    for _ in range(2):
        with pytest.raises(TrainingDiverged):
            training_job.learn(studio, job(tmp_path, method, learning_rate=1e30), Listener())
    assert not (tmp_path / "concept.safetensors").exists()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_weights_too_large_for_the_concepts_file_are_refused(studio, tmp_path, monkeypatch):
    artefact = DreamBooth.artefact

    def too_large(learner: DreamBooth) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            learner.parameters["conv_in.bias"][0] = 70_000.0
        return artefact(learner)

    monkeypatch.setattr(DreamBooth, "artefact", too_large)
    with pytest.raises(TrainingDiverged, match="too large for the concept's file"):
        training_job.learn(studio, job(tmp_path), Listener())
    assert not (tmp_path / "concept.safetensors").exists()


def test_a_model_with_two_text_encoders_is_refused_with_a_code(tmp_path):
    plan = tiny.family(tmp_path / "family")
    xl = open_studio(replace(plan, diffusion=str(tiny.sdxl_folder(tmp_path / "family" / "xl"))))
    with pytest.raises(Refused, match="two text encoders") as caught:
        training_job.learn(xl, job(tmp_path / "lesson"), Listener())
    assert caught.value.code == "unsupported_training"


def test_photos_left_out_are_counted_and_losses_written_down(studio, tmp_path):
    photos = (b"<html>", *(photo(seed) for seed in range(3)), photo(1))
    learned = training_job.learn(studio, job(tmp_path, "textual_inversion", photos=photos), Listener())
    assert learned.scores["photos_refused"] == 2
    assert len(json.loads((tmp_path / "losses.json").read_text())) == 6


def test_dino_gives_a_second_fidelity_and_leaves_pictures_and_request_ids_alone(studio, tiny_plan, tmp_path):
    both = open_studio(replace(tiny_plan, dino=str(tiny.dino_folder(tmp_path / "dino"))))
    both.training = FAST
    assert both.recipe == studio.recipe
    plain = training_job.learn(studio, job(tmp_path / "plain", "textual_inversion"), Listener())
    learned = training_job.learn(both, job(tmp_path / "both", "textual_inversion"), Listener())
    assert learned.sha256 == plain.sha256
    assert learned.scores.keys() - plain.scores.keys() == {"fidelity_dino", "fidelity_dino_before"}
    assert all(-1 <= learned.scores[name] <= 1 for name in ("fidelity_dino", "fidelity_dino_before"))
    assert learned.scores["fidelity_dino"] not in (learned.scores["fidelity"], learned.scores["fidelity_dino_before"])


def test_a_dino_that_is_not_there_is_found_out_before_anything_is_learned(tiny_plan, tmp_path):
    listener = Listener()
    missing = open_studio(replace(tiny_plan, dino=str(tmp_path / "nowhere")))
    with pytest.raises(WeightsNotFound, match="dino"):
        training_job.learn(missing, job(tmp_path), listener)
    assert listener.signs == []


def test_stock_diffusers_reads_unet_and_text_encoder_from_one_file_and_draws_the_same_pictures(
    studio, family_folder, tmp_path
):
    before = fingerprint(studio)
    learned = training_job.learn(studio, job(tmp_path, train_text_encoder=True), Listener())
    assert fingerprint(studio) == before
    base = stock(studio)
    kept = {"vae": base.vae, "scheduler": base.scheduler}
    pipeline = type(base).from_single_file(learned.path, config=str(family_folder / "diffusion"), **kept)
    pipeline.set_progress_bar_config(disable=True)
    untaught = base.text_encoder.state_dict()
    trained = dict(pipeline.text_encoder.named_parameters())
    moved = [name for name, value in trained.items() if (value - untaught[name]).abs().max() > 2e-3]
    assert len(moved) > len(trained) / 2
    same_pictures(studio, pipeline, "a photo of a sks milk carton", concept_of(learned, "dreambooth"))
    assert fingerprint(studio) == before

    config = tmp_path / "unet"
    base.unet.save_config(config)
    alone = type(base.unet).from_single_file(learned.path, config=str(config)).state_dict()
    assert all(torch.equal(value, alone[name]) for name, value in pipeline.unet.state_dict().items())


def test_unusable_photos_are_refused_before_anything_is_made(studio, tmp_path):
    listener = Listener()
    with pytest.raises(UnusablePhotos):
        training_job.learn(studio, job(tmp_path, photos=(photo(0), photo(0), b"<html>")), listener)
    assert listener.signs == []


def test_early_stopping_and_snr_weighting_are_settings(studio, tmp_path, monkeypatch):
    monkeypatch.setattr("models.learning.training.MEASURE_EVERY", 1)
    monkeypatch.setattr("models.learning.training.settled", lambda losses: losses.numel() >= 3)
    stopped, taken = job(tmp_path, early_stopping=True, snr_gamma=5.0), Listener()
    learned = training_job.learn(studio, stopped, taken)
    assert learned.steps == 3
    assert taken.checkpoints[-1][0] == 3
    again = Listener()
    assert training_job.learn(studio, stopped, again).sha256 == learned.sha256
    assert {(done, total) for stage, done, total in again.signs if stage == "train"} == {(3, 6)}
