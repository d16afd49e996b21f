"""Learners: one step equals the published step, frozen weights stay, and options take effect."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.briefs import TrainingJob
from models.errors import UnsupportedTraining
from models.learning import dreambooth, textual_inversion
from models.learning.denoiser import encode_latents, token_ids
from models.learning.dreambooth import DreamBooth
from models.learning.method_options import method_options
from models.learning.training import Schedule, generator_for, train
from models.studio import Studio


@pytest.fixture(scope="module")
def pipeline(tiny_studio: Studio):
    return tiny_studio.generator.pipeline


@pytest.fixture(params=["epsilon", "v_prediction"])
def predicting(request: pytest.FixtureRequest, pipeline):
    """Return the pipeline with a scheduler of each prediction type, and that type."""
    changed = copy.copy(pipeline)
    changed.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, prediction_type=request.param)
    return changed, request.param


def latents(count: int, seed: int) -> Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


class SilentReporter:
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def report_checkpoint(self, step: int, path: str) -> None: ...


def to_float64(learner: DreamBooth) -> DreamBooth:
    """Return the learner in float64."""
    learner.denoiser.unet.double()
    embeddings = learner.embeddings().double()
    classes = None if learner.classes is None else learner.classes.double()
    return DreamBooth(learner.denoiser, None, learner.instances.double(), classes, lambda: embeddings, learner.options)


def plain_error(pipeline: Any, unet: Any, place: tuple[Tensor, Tensor, Tensor], state: Tensor, kind: str) -> Tensor:
    """Return one sample's mean squared error in float64 (Ho et al. 2020, eq. 14; Salimans and Ho 2022)."""
    x0, eps, t = place[0].double(), place[1].double(), place[2]
    a = float(pipeline.scheduler.alphas_cumprod[t])
    alpha, sigma = math.sqrt(a), math.sqrt(1 - a)
    predicted = unet((alpha * x0 + sigma * eps)[None], t[None], state)[0]
    return (predicted[0] - (eps if kind == "epsilon" else alpha * eps - sigma * x0)).square().mean()


@pytest.mark.parametrize("prior_weight", [0.0, 1.0, 0.3])
def test_the_gradient_of_a_dreambooth_step_equals_the_papers(predicting, prior_weight):
    pipeline, kind = predicting
    options = dreambooth.Options(batch=2, prior_loss_weight=prior_weight)
    both = (latents(3, 1), latents(4, 2))
    learner = to_float64(dreambooth.make_learner(pipeline, both, ("sks jar", "jar"), options, 0))
    ours = learner.loss(generator_for(9, 0))
    gradients = torch.autograd.grad(ours, list(learner.parameters.values()))

    # The same step by hand: Ruiz et al. 2022, eq. 2, sample by sample, with the same random numbers.
    generator = generator_for(9, 0)
    chosen = [both[0][index] for index in torch.randint(0, 3, (2,), generator=generator)]
    if prior_weight:
        chosen += [both[1][index] for index in torch.randint(0, 4, (2,), generator=generator)]
    noise = torch.randn(len(chosen), 4, 8, 8, generator=generator)
    timesteps = torch.randint(0, 1000, (len(chosen),), generator=generator)
    states = [
        pipeline.text_encoder(token_ids(pipeline.tokenizer, [f"a photo of a {w}"]))[0] for w in ("sks jar", "jar")
    ]
    errors = [
        plain_error(pipeline, learner.denoiser.unet, place, states[number >= 2].detach().double(), kind)
        for number, place in enumerate(zip(chosen, noise, timesteps, strict=True))
    ]
    plain = sum(errors[:2]) / 2 + (prior_weight * sum(errors[2:]) / 2 if prior_weight else 0)
    reference = torch.autograd.grad(plain, list(learner.parameters.values()))
    assert ours.dtype == torch.float64
    assert ours.item() == pytest.approx(plain.item(), rel=1e-12)
    for ours_, plain_ in zip(gradients, reference, strict=True):
        assert torch.allclose(ours_, plain_, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("vectors", [1, 3])
def test_the_gradient_of_a_textual_inversion_step_equals_the_papers(predicting, vectors):
    pipeline, kind = predicting
    options = textual_inversion.Options(batch=4, vectors=vectors)
    learner = textual_inversion.make_learner(pipeline, latents(3, 1), ("<jam>", "jar of jam"), options)
    with torch.no_grad():
        learner.embedding.vectors.add_(torch.randn(vectors, 32, generator=torch.Generator().manual_seed(5)))
    learner.denoiser.unet.double()
    learner.text_encoder.double()
    double = dataclasses.replace(learner, latents=learner.latents.double())
    ours = double.loss(generator_for(9, 0))
    (gradient,) = torch.autograd.grad(ours, list(double.parameters.values()))

    # The same step by hand: Gal et al. 2022, eq. 2, with new tokens in the tokenizer and new rows in the table.
    tokenizer, encoder = copy.deepcopy(pipeline.tokenizer), copy.deepcopy(pipeline.text_encoder).double()
    names = ["<jam>", *(f"<jam>_{number}" for number in range(1, vectors))]
    tokenizer.add_tokens(names)
    rows = learner.embedding.vectors.detach().clone().requires_grad_(True)
    table = encoder.get_input_embeddings().weight.detach()
    generator = generator_for(9, 0)
    chosen = latents(3, 1)[torch.randint(0, 3, (4,), generator=generator)]
    contexts = torch.randint(0, len(textual_inversion.CONTEXTS), (4,), generator=generator)
    noise = torch.randn(4, 4, 8, 8, generator=generator)
    timesteps = torch.randint(0, 1000, (4,), generator=generator)
    plain = torch.zeros((), dtype=torch.float64)
    for place in zip(chosen, noise, timesteps, contexts, strict=True):
        prompt = textual_inversion.CONTEXTS[place[3]].format(" ".join(names))
        extended = torch.cat([table, rows])
        encoder.get_input_embeddings().forward = lambda ids, extended=extended: extended[ids]
        state = encoder(token_ids(tokenizer, [prompt]))[0]
        plain = plain + plain_error(pipeline, learner.denoiser.unet, place[:3], state, kind) / 4
    (reference,) = torch.autograd.grad(plain, [rows])
    assert ours.dtype == gradient.dtype == torch.float64
    assert ours.item() == pytest.approx(plain.item(), rel=1e-12)
    assert gradient.abs().max() > 1e-6
    assert torch.allclose(gradient, reference, rtol=1e-9, atol=1e-13)


def test_textual_inversion_trains_its_vectors_alone(pipeline, tmp_path):
    learner = textual_inversion.make_learner(
        pipeline, latents(3, 1), ("<jam>", "jar"), textual_inversion.Options(learning_rate=0.1, vectors=2)
    )
    start = learner.embedding.vectors.detach().clone()
    frozen = {name: value.clone() for name, value in learner.text_encoder.named_parameters() if not value.requires_grad}
    unet = copy.deepcopy(learner.denoiser.unet.state_dict())
    train(learner, Schedule(3, 0.1, 0, "test"), tmp_path, SilentReporter())
    assert set(learner.parameters) == {"vectors"}
    trainable = [name for name, value in learner.text_encoder.named_parameters() if value.requires_grad]
    assert len(trainable) == 1
    assert trainable[0].endswith("token_embedding.vectors")
    assert (learner.embedding.vectors != start).all(1).any()
    assert all(
        torch.equal(dict(learner.text_encoder.named_parameters())[name], value) for name, value in frozen.items()
    )
    assert all(torch.equal(value, unet[name]) for name, value in learner.denoiser.unet.state_dict().items())


def test_lora_trains_the_adapters_and_keeps_the_base_weights(pipeline, tmp_path):
    options = dreambooth.Options(rank=2, prior_loss_weight=0.0)
    learner = dreambooth.make_learner(pipeline, (latents(3, 1), None), ("sks jar", "jar"), options, 4)
    before = copy.deepcopy(learner.denoiser.unet.state_dict())
    train(learner, Schedule(2, 0.01, 0, "test"), tmp_path, SilentReporter())
    changed = {
        name for name, value in learner.denoiser.unet.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed
    assert all("lora_" in name for name in changed)


def test_the_placeholder_starts_from_the_class_noun(pipeline):
    table = pipeline.text_encoder.get_input_embeddings().weight
    ids = textual_inversion.word_ids(pipeline.tokenizer, "jar of jam")
    assert len(ids) > 2
    rows = table[ids]
    same = textual_inversion.initial_vectors(table, ids, len(ids))
    assert torch.equal(same, rows)
    assert torch.equal(textual_inversion.initial_vectors(table, ids, len(ids) + 1)[-1], rows[0])
    assert torch.allclose(textual_inversion.initial_vectors(table, ids, 1)[0], rows.mean(0))


def test_contexts_are_tokenized_as_the_pipeline_tokenizes_them(pipeline):
    tokenizer = copy.deepcopy(pipeline.tokenizer)
    first = len(tokenizer)
    tokenizer.add_tokens(["<jam>", "<jam>_1"])
    expected = token_ids(tokenizer, [context.format("<jam> <jam>_1") for context in textual_inversion.CONTEXTS])
    assert torch.equal(textual_inversion.context_ids(pipeline.tokenizer, first, 2), expected)


def test_latents_are_scaled_as_the_decoder_expects(pipeline):
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean = pipeline.vae.encode(pixels * 2 - 1).latent_dist.mean
    assert torch.allclose(encode_latents(pipeline, pixels), mean * pipeline.vae.config.scaling_factor, atol=1e-6)


def job(**changes: object) -> TrainingJob:
    defaults = {"class_noun": "jar", "placeholder_token": "sks", "method": "dreambooth", "photos": (), "seed": 0}
    return TrainingJob(**{"request_id": "r", "product_id": "p", "workdir": ".", **defaults, **changes})


def test_options_come_from_the_job_then_the_family_then_the_paper():
    family = {"dreambooth": {"steps": 160, "learning_rate": 4e-4, "class_images": 48}}
    options = method_options(job(steps=10), family)
    assert (options.steps, options.learning_rate, options.class_images, options.batch) == (10, 4e-4, 48, 1)
    paper = method_options(job(), {})
    assert (paper.steps, paper.learning_rate, paper.prior_loss_weight) == (800, 5e-6, 1.0)
    assert method_options(job(method="textual_inversion"), {}).steps == 3000
    adapters = method_options(job(method="dreambooth_lora"), {})
    assert (adapters.rank, adapters.learning_rate) == (4, 1e-4)


GIVEN = {
    "steps": 7,
    "learning_rate": 0.5,
    "batch": 3,
    "snr_gamma": 0.0,
    "early_stopping": False,
    "vectors": 2,
    "rank": 8,
    "class_images": 12,
    "prior_loss_weight": 0.0,
    "train_text_encoder": False,
}
OWN = {
    "textual_inversion": {"steps", "learning_rate", "batch", "snr_gamma", "early_stopping", "vectors"},
    "dreambooth": GIVEN.keys() - {"vectors", "rank"},
    "dreambooth_lora": GIVEN.keys() - {"vectors", "train_text_encoder"},
}


@pytest.mark.parametrize("method", OWN)
def test_the_job_overrides_every_option_of_the_family(method):
    others = {"snr_gamma": 5.0, "early_stopping": True, "prior_loss_weight": 0.7, "train_text_encoder": True}
    family = {name: others.get(name, 99) for name in OWN[method]}
    for name in OWN[method]:
        assert getattr(job(method=method), name) is None
        assert getattr(method_options(job(method=method), {method: family}), name) == family[name]
        given = method_options(job(method=method, **{name: GIVEN[name]}), {method: family})
        assert getattr(given, name) == GIVEN[name]


def test_by_default_only_prior_preservation_is_on():
    for method in OWN:
        options = method_options(job(method=method), {})
        assert options.snr_gamma == 0
        assert options.early_stopping is False
        assert getattr(options, "prior_loss_weight", 1.0) == 1.0


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        ("dreambooth_lora", "train_text_encoder", True),
        ("textual_inversion", "train_text_encoder", True),
        ("dreambooth", "rank", 4),
        ("textual_inversion", "rank", 4),
        ("dreambooth", "vectors", 2),
    ],
)
def test_an_option_of_another_method_is_refused_by_name(method, option, value):
    with pytest.raises(UnsupportedTraining, match=f"{method} has no option {option}") as caught:
        method_options(job(method=method, **{option: value}), {})
    assert caught.value.code == "unsupported_training"


def test_a_gamma_of_zero_turns_snr_weighting_off(pipeline):
    def loss(gamma: float) -> float:
        options = dreambooth.Options(batch=2, prior_loss_weight=0.0, snr_gamma=gamma)
        learner = dreambooth.make_learner(pipeline, (latents(3, 1), None), ("sks jar", "jar"), options, 0)
        return learner.loss(generator_for(9, 0)).item()

    assert loss(0.0) == loss(1e9)  # no timestep reaches this bound
    assert loss(1e-3) < 0.5 * loss(0.0)
