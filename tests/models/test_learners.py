"""The learners themselves: one step is the published step, what is frozen stays, settings reach where they should."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from models import dreambooth, lessons, textual_inversion
from models.briefs import Lesson
from models.denoiser import latents_of, token_ids
from models.dreambooth import DreamBooth
from models.studio import Studio
from models.training import Schedule, generator_for, train


@pytest.fixture(scope="module")
def pipeline(tiny_studio: Studio):
    return tiny_studio.generator.pipeline


@pytest.fixture(params=["epsilon", "v_prediction"])
def predicting(request: pytest.FixtureRequest, pipeline):
    """The pipeline with a scheduler of either prediction type."""
    changed = copy.copy(pipeline)
    changed.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, prediction_type=request.param)
    return changed, request.param


def latents(count: int, seed: int) -> Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


class Silent:
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def checkpointed(self, step: int, path: str) -> None: ...


def in_double(learner: DreamBooth) -> DreamBooth:
    """The same learner in float64."""
    learner.denoiser.unet.double()
    states = learner.embeddings().double()
    classes = None if learner.classes is None else learner.classes.double()
    return DreamBooth(learner.denoiser, None, learner.instances.double(), classes, lambda: states, learner.options)


@pytest.mark.parametrize("prior_weight", [0.0, 1.0, 0.3])
def test_a_dreambooth_steps_gradient_is_the_papers(predicting, prior_weight):
    pipeline, kind = predicting
    options = dreambooth.Options(batch=2, prior_loss_weight=prior_weight)
    both = (latents(3, 1), latents(4, 2))
    learner = in_double(dreambooth.prepare(pipeline, both, ("sks jar", "jar"), options, 0))
    ours = learner.loss(generator_for(9, 0))
    gradients = torch.autograd.grad(ours, list(learner.parameters.values()))

    # The same step by hand: Ruiz et al. 2022, eq. 2, sample by sample, from the same draws.
    generator = generator_for(9, 0)
    chosen = [both[0][index] for index in torch.randint(0, 3, (2,), generator=generator)]
    if prior_weight:
        chosen += [both[1][index] for index in torch.randint(0, 4, (2,), generator=generator)]
    noise = torch.randn(len(chosen), 4, 8, 8, generator=generator)
    timesteps = torch.randint(0, 1000, (len(chosen),), generator=generator)
    states = [
        pipeline.text_encoder(token_ids(pipeline.tokenizer, [f"a photo of a {w}"]))[0] for w in ("sks jar", "jar")
    ]
    errors = []
    for place, (x0, eps, t) in enumerate(zip(chosen, noise, timesteps, strict=True)):
        a = float(pipeline.scheduler.alphas_cumprod[t])
        alpha, sigma = math.sqrt(a), math.sqrt(1 - a)
        state = states[place >= 2].detach().double()
        said = learner.denoiser.unet((alpha * x0.double() + sigma * eps.double())[None], t[None], state)[0]
        wanted = eps if kind == "epsilon" else alpha * eps - sigma * x0
        errors.append((said[0] - wanted.double()).square().mean())
    plain = sum(errors[:2]) / 2 + (prior_weight * sum(errors[2:]) / 2 if prior_weight else 0)
    reference = torch.autograd.grad(plain, list(learner.parameters.values()))
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    for ours_, plain_ in zip(gradients, reference, strict=True):
        assert torch.allclose(ours_, plain_, rtol=1e-4, atol=1e-7)


def test_textual_inversion_moves_its_vectors_alone(pipeline, tmp_path):
    learner = textual_inversion.prepare(
        pipeline, latents(3, 1), ("<jam>", "jar"), textual_inversion.Options(learning_rate=0.1, vectors=2)
    )
    start = learner.embedding.vectors.detach().clone()
    frozen = {name: value.clone() for name, value in learner.text_encoder.named_parameters() if not value.requires_grad}
    unet = copy.deepcopy(learner.denoiser.unet.state_dict())
    train(learner, Schedule(3, 0.1, 0, "test"), tmp_path, Silent())
    assert set(learner.parameters) == {"vectors"}
    moving = [name for name, value in learner.text_encoder.named_parameters() if value.requires_grad]
    assert len(moving) == 1
    assert moving[0].endswith("token_embedding.vectors")
    assert (learner.embedding.vectors != start).all(1).any()
    assert all(
        torch.equal(dict(learner.text_encoder.named_parameters())[name], value) for name, value in frozen.items()
    )
    assert all(torch.equal(value, unet[name]) for name, value in learner.denoiser.unet.state_dict().items())


def test_adapters_move_and_the_weights_below_them_do_not(pipeline, tmp_path):
    options = dreambooth.Options(rank=2, prior_loss_weight=0.0)
    learner = dreambooth.prepare(pipeline, (latents(3, 1), None), ("sks jar", "jar"), options, 4)
    before = copy.deepcopy(learner.denoiser.unet.state_dict())
    train(learner, Schedule(2, 0.01, 0, "test"), tmp_path, Silent())
    moved = {name for name, value in learner.denoiser.unet.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)


def test_the_placeholder_starts_from_the_class_noun(pipeline):
    table = pipeline.text_encoder.get_input_embeddings().weight
    ids = textual_inversion.noun_ids(pipeline.tokenizer, "jar of jam")
    assert len(ids) > 2
    rows = table[ids]
    same = textual_inversion.initial_vectors(table, ids, len(ids))
    assert torch.equal(same, rows)
    assert torch.equal(textual_inversion.initial_vectors(table, ids, len(ids) + 1)[-1], rows[0])
    assert torch.allclose(textual_inversion.initial_vectors(table, ids, 1)[0], rows.mean(0))


def test_contexts_are_tokenized_as_the_pipeline_would(pipeline):
    words = copy.deepcopy(pipeline.tokenizer)
    first = len(words)
    words.add_tokens(["<jam>", "<jam>_1"])
    expected = token_ids(words, [context.format("<jam> <jam>_1") for context in textual_inversion.CONTEXTS])
    assert torch.equal(textual_inversion.context_ids(pipeline.tokenizer, first, 2), expected)


def test_latents_are_scaled_as_the_decoder_expects(pipeline):
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean = pipeline.vae.encode(pixels * 2 - 1).latent_dist.mean
    assert torch.allclose(latents_of(pipeline, pixels), mean * pipeline.vae.config.scaling_factor, atol=1e-6)


def lesson(**changes: object) -> Lesson:
    stated = {"class_noun": "jar", "placeholder_token": "sks", "method": "dreambooth", "photos": (), "seed": 0}
    return Lesson(**{"request_id": "r", "product_id": "p", "workdir": ".", **stated, **changes})


def test_the_lesson_comes_before_the_family_and_the_family_before_the_paper():
    family = {"dreambooth": {"steps": 160, "learning_rate": 4e-4, "class_images": 48}}
    options = lessons.options_of(lesson(steps=10), family)
    assert (options.steps, options.learning_rate, options.class_images, options.batch) == (10, 4e-4, 48, 1)
    paper = lessons.options_of(lesson(), {})
    assert (paper.steps, paper.learning_rate, paper.prior_loss_weight) == (800, 5e-6, 1.0)
    assert lessons.options_of(lesson(method="textual_inversion"), {}).steps == 3000
    adapters = lessons.options_of(lesson(method="dreambooth_lora"), {})
    assert (adapters.rank, adapters.learning_rate) == (4, 1e-4)
