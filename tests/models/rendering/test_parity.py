"""Our pictures against those of the stock diffusers pipelines: equal weights, noise and settings, in float32."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from models.rendering.diffusion import DiffusionGenerator, Sampling, _generator
from models.weights import pipelines
from models.weights.catalog import resolve
from tests import tiny

CPU = torch.device("cpu")
SEEDS = (3, 4)
PROMPT, NEGATIVE = "a cup of coffee", "blurry"
VELOCITY = {"prediction_type": "v_prediction"}
ZERO_SNR = VELOCITY | {
    "clip_sample": False,
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "_class_name": "DDIMScheduler",
}
EDM = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "sigma_min": 0.002,
    "sigma_max": 120.0,
    "sigma_data": 1.0,
} | VELOCITY
STATISTICS = {"latents_mean": [0.5, -0.2, 0.1, 0.3], "latents_std": [1.5, 0.7, 1.1, 0.9]}


@pytest.fixture(scope="module")
def folders(family_folder):
    return {
        StableDiffusionPipeline: family_folder / "diffusion",
        StableDiffusionXLPipeline: tiny.sdxl_folder(family_folder / "xl"),
    }


def rewrite(path, changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@torch.inference_mode()
def stock_pixels(kind, folder, generator, prompts):
    """Return the stock pipeline's pixels, for the sampler and the noise that `generator` uses."""
    own = generator.pipeline.scheduler
    pipeline = kind.from_pretrained(folder, local_files_only=True, scheduler=type(own).from_config(own.config))
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])
    return pipeline(
        **{name: [text] * len(SEEDS) for name, text in prompts.items()},
        height=32,
        width=32,
        num_inference_steps=generator.sampling.steps,
        guidance_scale=generator.sampling.guidance_scale,
        latents=noise,
        generator=[_generator(seed, stream=1) for seed in SEEDS],
        output_type="pt",
    ).images


CASES = {
    "SD 1.x": (StableDiffusionPipeline, {}, {}, {}),
    "SD 1.x without a negative prompt": (StableDiffusionPipeline, {"negative": ""}, {}, {}),
    "SD 1.x without guidance": (StableDiffusionPipeline, {"guidance_scale": 1.0}, {}, {}),
    "SD 2.x, velocity": (StableDiffusionPipeline, {}, VELOCITY, {}),
    "SD 2.x, velocity with zero SNR": (StableDiffusionPipeline, {}, ZERO_SNR, {}),
    "SD 1.x, its VAE with another scale": (StableDiffusionPipeline, {}, {}, {"scaling_factor": 0.5}),
    "SDXL": (StableDiffusionXLPipeline, {}, {}, {}),
    "SDXL without a negative prompt": (StableDiffusionXLPipeline, {"negative": ""}, {}, {}),
    "SDXL without guidance": (StableDiffusionXLPipeline, {"guidance_scale": 1.0}, {}, {}),
    "SDXL, its VAE with statistics": (StableDiffusionXLPipeline, {}, {}, STATISTICS),
    "SDXL, EDM": (StableDiffusionXLPipeline, {}, EDM, {}),
    **{
        f"{kind.__name__} in few steps, {sampler}": (kind, {"sampler": sampler, "guidance_scale": scale}, {}, {})
        for kind, sampler, scale in (
            (StableDiffusionPipeline, "lcm", 1.0),
            (StableDiffusionPipeline, "tcd", 1.0),
            (StableDiffusionPipeline, "euler-ancestral-trailing", 0.0),
            (StableDiffusionXLPipeline, "euler-trailing", 0.0),
            (StableDiffusionXLPipeline, "ddim", 4.0),
        )
    },
}


@pytest.mark.parametrize("case", list(CASES))
def test_pictures_equal_those_of_the_stock_pipeline(folders, tmp_path, case):
    kind, settings, schedule, vae = CASES[case]
    folder = shutil.copytree(folders[kind], tmp_path / "model")
    rewrite(folder / "scheduler" / "scheduler_config.json", schedule)
    rewrite(folder / "vae" / "config.json", vae)
    settings = dict(settings)
    negative = settings.pop("negative", NEGATIVE)
    sampling = Sampling(**{"size": 32, "steps": 3, "guidance_scale": 5.0, "bucket": 2} | settings)
    pipeline = pipelines.load(resolve("diffusion", str(folder)), torch.float32)
    generator = DiffusionGenerator(pipeline, sampling, CPU)
    found = generator.generate(PROMPT, negative, SEEDS)
    prompts = {"prompt": PROMPT} | ({"negative_prompt": negative} if negative else {})
    expected = stock_pixels(kind, folder, generator, prompts)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("zeroed", [True, False])
def test_sdxl_weights_decide_what_an_absent_negative_prompt_is(folders, tmp_path, zeroed):
    """Zeroed embeddings, as SDXL was trained, or the encoded empty text if `model_index.json` states that."""
    folder = shutil.copytree(folders[StableDiffusionXLPipeline], tmp_path / "model")
    rewrite(folder / "model_index.json", {"force_zeros_for_empty_prompt": zeroed})
    pipeline = pipelines.load(resolve("diffusion", str(folder)), torch.float32)
    generator = DiffusionGenerator(pipeline, Sampling(32, 3, 5.0, 2), CPU)
    embeddings = generator._encode(PROMPT, "")["negative_prompt_embeds"]
    assert bool((embeddings == 0).all()) == zeroed
    expected = stock_pixels(StableDiffusionXLPipeline, folder, generator, {"prompt": PROMPT})
    assert (generator.generate(PROMPT, "", SEEDS) - expected).abs().max() <= 1e-5


def test_the_vaes_shift_is_undone_as_stable_diffusion_3_does(folders, tmp_path):
    """No stock pipeline of Stable Diffusion 1.x to XL reads `shift_factor`, so the formula is the later ones'."""
    folder = shutil.copytree(folders[StableDiffusionPipeline], tmp_path / "model")
    rewrite(folder / "vae" / "config.json", {"shift_factor": 0.2})
    pipeline = pipelines.load(resolve("diffusion", str(folder)), torch.float32)
    generator = DiffusionGenerator(pipeline, Sampling(32, 3, 5.0, 2), CPU)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor + 0.2)[0] / 2 + 0.5
        assert (generator.decoder.decode(latents) - expected.clamp(0, 1)).abs().max() <= 1e-5
