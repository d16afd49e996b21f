"""Lessons on a tiny studio: nothing but the concept changes, a kill changes nothing, stock diffusers reads the files."""

from __future__ import annotations

import copy
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from models import lessons
from models.briefs import Brief, Concept, Learned, Lesson, StudioPlan, placeholder
from models.errors import Cancelled, UnusablePhotos
from models.studio import Studio

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
    opened = Studio.open(tiny_plan)
    opened.training = FAST
    return opened


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def lesson(folder: Path, method: str = "dreambooth", **changes: object) -> Lesson:
    return Lesson(
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
        }
        | changes
    )


def concept_of(learned: Learned, method: str) -> Concept:
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
    given = lesson(tmp_path_factory.mktemp("taught"), request.param)
    learned = lessons.learn(studio, given, listener)
    return request.param, given, learned, listener, before


def test_a_lesson_ends_with_a_file_scores_and_pictures(taught):
    method, _, learned, listener, _ = taught
    assert hashlib.sha256(Path(learned.path).read_bytes()).hexdigest() == learned.sha256
    assert learned.steps == FAST[method]["steps"]
    assert set(learned.scores) == {"fidelity", "fidelity_before", "prompt", "prior", "diversity"}
    assert all(np.isfinite(score) for score in learned.scores.values())
    assert [picture.rank for picture in learned.pictures] == [1, 2]
    assert all(Image.open(io.BytesIO(picture.content)).size == (128, 128) for picture in learned.pictures)
    assert [step for step, _ in listener.checkpoints] == [2, 4, 6]
    assert {stage for stage, _, _ in listener.signs} >= {"learn", "evaluate"}
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
    prompt = f"a photo of a {given.placeholder_token} milk carton"
    ours = drawn(studio, prompt, concept_of(learned, method))
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
    learned = lessons.learn(studio, lesson(tmp_path, "textual_inversion"), Listener())
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
        given = lesson(tmp_path / product, "textual_inversion", placeholder_token=f"<{product}>", steps=2)
        learned = lessons.learn(studio, given, Listener())
        word = (f"<{product}>", "milk carton")
        shelf_concepts.append(Concept(product, "textual_inversion", learned.path, learned.sha256, *word))
    from models.concepts import ConceptShelf

    before, shelf = fingerprint(studio), ConceptShelf(1)
    with shelf.applied(studio.generator.pipeline, shelf_concepts):
        pipeline = studio.generator.pipeline
        worded = pipeline.maybe_convert_prompt("<milk> with <jam>", pipeline.tokenizer)
        assert worded == "<milk> <milk>_1 with <jam> <jam>_1"
    assert fingerprint(studio) == before


@pytest.mark.parametrize("method", METHODS)
def test_a_lesson_killed_again_and_again_ends_with_the_same_bytes(studio, tmp_path, method):
    whole = lessons.learn(studio, lesson(tmp_path / "whole", method), Listener())
    rng = np.random.default_rng(11)
    for _ in range(3):
        with pytest.raises(Cancelled):
            lessons.learn(studio, lesson(tmp_path / "killed", method), Listener(give_up_at=int(rng.integers(1, 7))))
    resumed = lessons.learn(studio, lesson(tmp_path / "killed", method), Listener())
    assert resumed.sha256 == whole.sha256
    assert resumed.scores == whole.scores


def test_class_images_are_made_once_per_noun(studio, tmp_path):
    cache = str(tmp_path / "cache")
    first, second = Listener(), Listener()
    one = lessons.learn(studio, lesson(tmp_path / "one", class_cache=cache), first)
    two = lessons.learn(studio, lesson(tmp_path / "two", class_cache=cache), second)
    assert "prior" in {stage for stage, _, _ in first.signs}
    assert "prior" not in {stage for stage, _, _ in second.signs}
    assert one.sha256 == two.sha256


def test_without_prior_no_class_image_is_made(studio, tmp_path):
    listener = Listener()
    lessons.learn(studio, lesson(tmp_path, prior_loss_weight=0.0), listener)
    assert "prior" not in {stage for stage, _, _ in listener.signs}


def test_the_text_encoder_is_trained_and_written_when_asked_for(studio, tmp_path):
    before = fingerprint(studio)
    learned = lessons.learn(studio, lesson(tmp_path, train_text_encoder=True), Listener())
    tensors = load_file(learned.path)
    name = "text_encoder.text_model.final_layer_norm.bias"
    candidates = [key for key in tensors if key.startswith("text_encoder.")]
    assert candidates
    assert fingerprint(studio) == before
    pictures = drawn(studio, "a photo of a sks carton", concept_of(learned, "dreambooth"))
    assert fingerprint(studio) == before
    assert pictures.shape[0] == 2
    assert name in tensors or any("final_layer_norm" in key for key in candidates)


def test_unusable_photos_are_refused_before_anything_is_made(studio, tmp_path):
    listener = Listener()
    with pytest.raises(UnusablePhotos):
        lessons.learn(studio, lesson(tmp_path, photos=(photo(0), photo(0), b"<html>")), listener)
    assert listener.signs == []


def test_early_stopping_and_snr_weighting_are_settings(studio, tmp_path, monkeypatch):
    monkeypatch.setattr("models.training.MEASURE_EVERY", 1)
    monkeypatch.setattr("models.training.settled", lambda losses: losses.numel() >= 3)
    learned = lessons.learn(studio, lesson(tmp_path, early_stopping=True, snr_gamma=5.0), Listener())
    assert learned.steps == 3
