"""Time DreamBooth steps with Stable Diffusion 1.5's architecture: our loop against that of diffusers' example script.

    python -m benchmarks.dreambooth_gpu                                    on a CUDA device: 800 steps each, bf16
    python -m benchmarks.dreambooth_gpu --tiny --device cpu --steps 3      on any machine: the same code, tiny networks

The weights are random, which does not change the arithmetic. Each step takes one photo and one class image, with prior
preservation. Both loops train a float32 UNet under bfloat16 autocast; VAE and text encoder are cast to bfloat16 once.

The baseline is examples/dreambooth/train_dreambooth.py with its defaults: every step encodes pixels and token ids,
clips gradients, uses the plain AdamW and reads the loss for the log. We leave out its costs that are unrelated to the
method: photos are decoded in memory, prompts are tokenized once, gradients are set to None.

Our loop caches latents and text embeddings and uses the fused AdamW. `prepared` is the time in seconds to fill these
caches for 5 photos and 200 class images before the first step; `seconds` does not include it.

The lower bound of the time is 3 x the UNet's forward work for 2 samples (0.803 TFLOP each): 9.6 s for 800 steps at
400 TFLOP/s. `share_of_floor` is that bound divided by the measured time.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from models.learning import dreambooth
from models.learning.denoiser import encode_latents, mixed_precision, token_ids
from models.learning.training import Schedule, train
from models.weights import single_file, vocabulary

WARM_UP = 5
PHOTOS, CLASS_IMAGES = 5, 200
PROMPTS = ("a photo of a sks jar of jam", "a photo of a jar of jam")
TINY = {
    "unet": {
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
    },
    "vae": {"block_out_channels": (32, 32, 32, 32)},
    "text_encoder": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 2},
}


def main() -> None:
    """Measure both loops, one after the other, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--baseline-steps", type=int, help="steps of the baseline; its seconds are scaled to --steps")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and 64-pixel pictures, to try the script")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    side = 64 if arguments.tiny else 512
    pipeline = random_pipeline(device, TINY if arguments.tiny else {})
    pixels = torch.rand(PHOTOS + CLASS_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(1))
    flops = _flops(pipeline, pixels)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "steps": arguments.steps,
        "tflop_per_step": round(flops / 1e12, 4),
    }
    for name, measure, steps in (
        ("ours", time_our_loop, arguments.steps),
        ("baseline", time_baseline, arguments.baseline_steps or arguments.steps),
    ):
        seconds, prepared = measure(pipeline, pixels, steps)
        seconds *= arguments.steps / steps
        figures[name] = {
            "seconds": round(seconds, 2),
            "prepared": round(prepared, 2),
            "tflops": round(flops * arguments.steps / seconds / 1e12, 2),
            "share_of_floor": round(flops * arguments.steps / 400e12 / seconds, 4),
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if device.type == "cuda" else None,
        }
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    print(json.dumps(figures, indent=2))


def random_pipeline(device: torch.device, changes: dict[str, dict[str, Any]]) -> StableDiffusionPipeline:
    """Return SD 1.5 with random weights. On CUDA the frozen parts are in bfloat16; the UNet is in float32.

    changes: config values to replace, by part.
    """
    torch.manual_seed(0)
    configs = {
        part: single_file.published_config("sd15", part) | changes.get(part, {})
        for part in ("unet", "vae", "text_encoder")
    }
    pipeline = StableDiffusionPipeline(
        AutoencoderKL.from_config(configs["vae"]),
        CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        vocabulary.clip_tokenizer(),
        UNet2DConditionModel.from_config(configs["unet"]),
        DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
        None,
        None,
        requires_safety_checker=False,
    )
    pipeline.to(device)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    for part in (pipeline.vae, pipeline.text_encoder) if device.type == "cuda" else ():
        part.to(torch.bfloat16)
    return pipeline


class Stopwatch:
    """A JobReporter that times the steps between the warm-up and the last step, after which a checkpoint is written."""

    def __init__(self) -> None:
        self.started = self.stopped = 0.0

    def progress(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - JobReporter has it
        if done == WARM_UP:
            self.started = _now()
        if done == total - 1:
            self.stopped = _now()

    def report_checkpoint(self, step: int, path: str) -> None: ...


def time_our_loop(pipeline: Any, pixels: torch.Tensor, steps: int) -> tuple[float, float]:
    """Return the seconds of `steps` steps of models.learning.training, and the seconds of its preparation."""
    stopwatch = Stopwatch()
    schedule = Schedule(WARM_UP + steps + 1, 5e-6, 0, "benchmark", checkpoint_every=10**9)
    start = _now()
    learner = _learner(pipeline, pixels)
    prepared = _now() - start
    with tempfile.TemporaryDirectory() as folder:
        train(learner, schedule, Path(folder), stopwatch)
    return stopwatch.stopped - stopwatch.started, prepared


def time_baseline(pipeline: Any, pixels: torch.Tensor, steps: int) -> tuple[float, float]:
    """Return the seconds of `steps` steps as in diffusers' example, and the seconds of its preparation."""
    start = _now()
    unet = _trainable(pipeline.unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=5e-6, weight_decay=1e-2)
    ids = token_ids(pipeline.tokenizer, PROMPTS)
    prepared = _now() - start
    started = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            started = _now()
        batch = torch.stack([pixels[step % PHOTOS], pixels[PHOTOS + step % CLASS_IMAGES]])
        loss = _example_loss(pipeline, unet, batch.to(pipeline.device), ids.to(pipeline.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.detach().item()
    return _now() - started, prepared


def _example_loss(pipeline: Any, unet: Any, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the loss of one photo and one class image. Autocast wraps the UNet alone, as in accelerate."""
    vae, scheduler = pipeline.vae, pipeline.scheduler
    latents = vae.encode((pixels * 2 - 1).to(vae.dtype)).latent_dist.sample() * vae.config.scaling_factor
    noise = torch.randn_like(latents)
    timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (2,), device=latents.device)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    embeddings = pipeline.text_encoder(ids)[0]
    with mixed_precision(latents.device):
        prediction = unet(noisy, timesteps, embeddings, return_dict=False)[0]
    instance, prior = prediction.float().chunk(2)
    target, prior_target = noise.float().chunk(2)
    return functional.mse_loss(instance, target) + functional.mse_loss(prior, prior_target)


def _learner(pipeline: Any, pixels: torch.Tensor) -> dreambooth.DreamBooth:
    latents = encode_latents(pipeline, pixels)
    parts = (latents[:PHOTOS], latents[PHOTOS:])
    return dreambooth.make_learner(pipeline, parts, ("sks jar of jam", "jar of jam"), dreambooth.Options(), 0)


def _trainable(unet: Any) -> Any:
    copy = UNet2DConditionModel.from_config(unet.config).to(unet.device)
    copy.load_state_dict(unet.state_dict())
    return copy.train().requires_grad_(True)


def _flops(pipeline: Any, pixels: torch.Tensor) -> int:
    """Return the FLOP of one step on the UNet, forward and backward, at 2 FLOP per multiply-add."""
    learner = _learner(pipeline, pixels)
    counter = FlopCounterMode(display=False)
    with counter:
        learner.loss(torch.Generator().manual_seed(0)).backward()
    return int(counter.get_total_flops())


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
