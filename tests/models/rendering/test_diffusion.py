"""Candidates of the tiny pipelines: shapes, seeds, buckets, guidance, samplers."""

import pytest
import torch

from models.errors import NonFiniteOutput
from models.rendering import diffusion
from models.rendering.diffusion import DiffusionGenerator, Sampling, split_into_buckets
from models.rendering.formats import ASPECTS
from models.weights import pipelines
from models.weights.catalog import resolve
from tests import tiny, tiny_single

CPU = torch.device("cpu")


def make_generator(folder, **sampling):
    pipeline = pipelines.load(resolve("diffusion", str(folder)), torch.float32)
    return DiffusionGenerator(pipeline, Sampling(**{"size": 32, "steps": 2, "bucket": 4} | sampling), CPU)


@pytest.fixture(scope="module")
def generator(family_folder):
    return make_generator(family_folder / "diffusion")


@pytest.fixture(scope="module")
def xl(family_folder):
    return make_generator(tiny.sdxl_folder(family_folder / "xl"), guidance_scale=5.0)


@pytest.fixture(scope="module")
def single_file(tmp_path_factory):
    return tiny_single.single_file(tmp_path_factory.mktemp("single") / "sd15.safetensors", "sd15")


@pytest.mark.parametrize("which", ["generator", "xl"])
def test_pixels_in_range_one_per_seed(request, which):
    pixels = request.getfixturevalue(which).generate("coffee", "blurry", (1, 2**63 - 1, 1))
    assert pixels.shape == (3, 3, 32, 32)
    assert pixels.dtype == torch.float32
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert torch.equal(pixels[0], pixels[2])
    assert not torch.equal(pixels[0], pixels[1])


def test_prompt_and_negative_prompt_matter(generator):
    base = generator.generate("coffee", "", (1,))
    assert not torch.equal(base, generator.generate("tea", "", (1,)))
    assert not torch.equal(base, generator.generate("coffee", "blurry", (1,)))


def test_without_guidance_the_negative_prompt_is_not_read(family_folder):
    generator = make_generator(family_folder / "diffusion", guidance_scale=0.0)
    assert torch.equal(generator.generate("coffee", "", (1,)), generator.generate("coffee", "blurry", (1,)))


def test_unguided_is_the_same_network_without_guidance(generator):
    guided = generator.generate("a cup", "blue", (1, 2))
    free = generator.unguided()
    assert free.sampling.guidance_scale == 1
    assert generator.sampling.guidance_scale > 1
    assert torch.equal(free.generate("a cup", "blue", (1, 2)), free.generate("a cup", "red", (1, 2)))
    assert not torch.equal(free.generate("a cup", "blue", (1, 2)), guided)
    assert torch.equal(generator.generate("a cup", "blue", (1, 2)), guided)


def test_a_bucket_of_one_size_gives_one_result_at_any_place(generator):
    """On the CPU a row of a bucket depends neither on its place nor on the other rows."""
    first, last = generator.generate("coffee", "", (7, 8, 9, 10)), generator.generate("coffee", "", (1, 2, 3, 7))
    assert torch.equal(first[0], last[3])


def test_steps_are_reported_over_all_buckets(generator):
    reports = []
    generator.generate("coffee", "", (1, 2, 3, 4, 5), report=lambda *at: reports.append(at))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("count", "bucket", "expected"),
    [
        (8, 8, [(0, 8, 8)]),
        (3, 8, [(0, 3, 4)]),
        (1, 8, [(0, 1, 1)]),
        (13, 8, [(0, 8, 8), (8, 13, 8)]),
        (7, 6, [(0, 6, 6), (6, 7, 1)]),
        (5, 6, [(0, 5, 6)]),
        (2, 1, [(0, 1, 1), (1, 2, 1)]),
    ],
)
def test_buckets_cover_every_candidate_once(count, bucket, expected):
    assert split_into_buckets(count, bucket) == expected


def test_every_format_of_the_tiny_model_renders_in_its_shape(generator):
    for name in ASPECTS:
        assert tuple(generator.generate("coffee", "", (1,), name).shape[-2:]) == generator.shape(name)


def test_too_little_memory_halves_the_bucket_once(generator, monkeypatch):
    sizes = []
    denoise = DiffusionGenerator._denoise

    def limited(self, latents, *rest):
        sizes.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError("too much")
        return denoise(self, latents, *rest)

    expected = generator.generate("coffee", "", (1, 2, 3))
    monkeypatch.setattr(DiffusionGenerator, "_denoise", limited)
    found = generator.generate("coffee", "", (1, 2, 3))
    assert sizes == [4, 2, 2]
    assert torch.allclose(found, expected, atol=1e-4)
    monkeypatch.setattr(DiffusionGenerator, "_denoise", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(torch.OutOfMemoryError):
        generator.generate("coffee", "", (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "config", "chosen"),
    [
        ("PNDMScheduler", {}, "DPMSolverMultistepScheduler"),
        ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}, "DPMSolverMultistepScheduler"),
        ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, "EulerAncestralDiscreteScheduler"),
        ("LCMScheduler", {}, "LCMScheduler"),
        ("SomethingNew", {}, "DPMSolverMultistepScheduler"),
    ],
)
def test_distilled_models_keep_their_sampler(family_folder, name, config, chosen):
    pipeline = pipelines.load(resolve("diffusion", str(family_folder / "diffusion")), torch.float32)
    pipeline.scheduler = pipelines.scheduler({"_class_name": name, "prediction_type": "v_prediction", **config})
    generator = DiffusionGenerator(pipeline, Sampling(32, steps=1, guidance_scale=1.0, bucket=2), CPU)
    assert generator.scheduler_name == chosen
    assert generator.pipeline.scheduler.config.prediction_type == "v_prediction"
    pixels = generator.generate("coffee", "", (1, 2))
    assert (
        torch.equal(pixels[1], generator.generate("coffee", "", (2, 2))[0]) or chosen != "DPMSolverMultistepScheduler"
    )
    assert torch.equal(pixels, generator.generate("coffee", "", (1, 2)))


@pytest.mark.parametrize(
    ("sampler", "steps"), [("euler-trailing", 2), ("euler-ancestral-trailing", 1), ("lcm", 2), ("tcd", 2)]
)
def test_a_single_file_is_denoised_in_few_steps_by_setting(single_file, sampler, steps):
    """Nothing in a single file names the sampler it was distilled for."""
    default = make_generator(single_file, steps=steps, guidance_scale=0.0)
    generator = make_generator(single_file, steps=steps, guidance_scale=0.0, sampler=sampler)
    pixels = generator.generate("coffee", "", (1,))
    assert default.scheduler_name == "DPMSolverMultistepScheduler"
    assert generator.scheduler_name != default.scheduler_name
    assert torch.equal(pixels, generator.generate("coffee", "", (1,)))
    assert not torch.equal(pixels, default.generate("coffee", "", (1,)))


def test_latents_come_from_each_seed_alone(generator):
    rows = generator._latents((3, 4), "square", 4)
    assert torch.equal(rows[0:1], torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(rows[1], rows[3])
    assert diffusion._generator(5, stream=1).initial_seed() != 5


@pytest.mark.parametrize(("network", "named"), [("text_encoder", "text encoder"), ("unet", "UNet"), ("vae", "VAE")])
def test_weights_that_give_no_numbers_are_named(family_folder, network, named):
    generator = make_generator(family_folder / "diffusion")
    assert generator.probe().shape == (1, 3, 64, 64)
    next(getattr(generator.pipeline, network).parameters()).data[:] = float("nan")
    if network == "vae":
        generator.pipeline.vae.post_quant_conv.bias.data[:] = float("nan")
    for draw in (generator.probe, lambda: generator.generate("coffee", "", (1, 2))):
        with pytest.raises(
            NonFiniteOutput, match=f"^The {named} returns values that are not finite numbers in float32"
        ):
            draw()


def test_one_candidate_that_is_not_finite_is_lost_alone(generator, monkeypatch):
    expected = generator.generate("coffee", "", (1, 2, 3))
    denoise = DiffusionGenerator._denoise

    def broken(self, latents, *rest):
        found = denoise(self, latents, *rest).clone()
        found[1] = float("nan")
        return found

    monkeypatch.setattr(DiffusionGenerator, "_denoise", broken)
    found = generator.generate("coffee", "", (1, 2, 3))
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
