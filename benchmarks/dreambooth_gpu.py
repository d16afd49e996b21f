"""DreamBooth steps of Stable Diffusion 1.5's architecture, ours against a loop as diffusers' example script has it.

    python benchmarks/dreambooth_gpu.py                        on a CUDA device: 800 steps each, bf16
    python benchmarks/dreambooth_gpu.py --small --steps 3      anywhere: the same code on narrow networks

Random weights (the arithmetic does not care), one photo and one class image a step, prior preservation on. The baseline
encodes pixels and prompts in every step, clips gradients and uses the plain AdamW; ours has latents and text states
cached and the fused AdamW. Both keep float32 weights and compute in bfloat16.
The floor: 3 x the UNet's forward work for 2 samples (0.803 TFLOP each), 9.6 s for 800 steps at 400 TFLOP/s.
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

from models import dreambooth, single_file, vocabulary
from models.denoiser import latents_of, mixed_precision
from models.training import Schedule, train

WARM_UP = 5
PROMPTS = ("a photo of a sks jar of jam", "a photo of a jar of jam")
NARROW = {
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
    """Measure both loops one after the other and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--baseline-steps", type=int, help="fewer for the slow one; seconds are scaled up")
    parser.add_argument("--small", action="store_true", help="narrow networks, for a machine without a GPU")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    side = 64 if given.small else 512
    pipeline = random_pipeline(device, NARROW if given.small else {})
    pixels = torch.rand(5, 3, side, side, generator=torch.Generator().manual_seed(1))
    flops = _flops(pipeline, pixels)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "steps": given.steps,
        "tflop_per_step": round(flops / 1e12, 4),
    }
    for name, measure, steps in (
        ("ours", ours, given.steps),
        ("baseline", baseline, given.baseline_steps or given.steps),
    ):
        seconds = measure(pipeline, pixels, steps) / steps * given.steps
        figures[name] = {
            "seconds": round(seconds, 2),
            "tflops": round(flops * given.steps / seconds / 1e12, 2),
            "share_of_floor": round(flops * given.steps / 400e12 / seconds, 4),
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if device.type == "cuda" else None,
        }
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    print(json.dumps(figures, indent=2))


def random_pipeline(device: torch.device, changes: dict[str, dict[str, Any]]) -> StableDiffusionPipeline:
    """Return SD 1.5 with random weights in float32."""
    torch.manual_seed(0)
    stated = {
        part: single_file.published("sd15", part) | changes.get(part, {}) for part in ("unet", "vae", "text_encoder")
    }
    made = StableDiffusionPipeline(
        AutoencoderKL.from_config(stated["vae"]),
        CLIPTextModel(CLIPTextConfig(**stated["text_encoder"])),
        vocabulary.clip_tokenizer(),
        UNet2DConditionModel.from_config(stated["unet"]),
        DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
        None,
        None,
        requires_safety_checker=False,
    )
    made.to(device)
    for part in (made.unet, made.vae, made.text_encoder):
        part.requires_grad_(False).eval()
    return made


class Stopwatch:
    """Hears a training: starts after the warm-up, stops before the last step, whose end writes a checkpoint."""

    def __init__(self) -> None:
        self.started = self.stopped = 0.0

    def progress(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - the protocol gives it
        if done == WARM_UP:
            self.started = _now()
        if done == total - 1:
            self.stopped = _now()

    def checkpointed(self, step: int, path: str) -> None: ...


def ours(pipeline: Any, pixels: torch.Tensor, steps: int) -> float:
    """Return the seconds of `steps` steps of models.training."""
    stopwatch = Stopwatch()
    schedule = Schedule(WARM_UP + steps + 1, 5e-6, 0, "benchmark", checkpoint_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        train(_learner(pipeline, pixels), schedule, Path(folder), stopwatch)
    return stopwatch.stopped - stopwatch.started


def baseline(pipeline: Any, pixels: torch.Tensor, steps: int) -> float:
    """Return the seconds of `steps` steps written as diffusers' example does: everything inside the loop."""
    unet = _trainable(pipeline.unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=5e-6, weight_decay=1e-2)
    device, scheduler = pipeline.device, pipeline.scheduler
    started = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            started = _now()
        batch = torch.stack([pixels[step % 5], pixels[(step + 1) % 5]]).to(device)
        with mixed_precision(device):
            latents = pipeline.vae.encode(batch * 2 - 1).latent_dist.sample() * pipeline.vae.config.scaling_factor
            ids = pipeline.tokenizer(
                list(PROMPTS), padding="max_length", max_length=pipeline.tokenizer.model_max_length, return_tensors="pt"
            ).input_ids.to(device)
            states = pipeline.text_encoder(ids)[0]
            noise = torch.randn_like(latents)
            timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (2,), device=device)
            prediction = unet(scheduler.add_noise(latents, noise, timesteps), timesteps, states, return_dict=False)[0]
            shown, prior = prediction.float().chunk(2)
            wanted, wanted_prior = noise.float().chunk(2)
            loss = functional.mse_loss(shown, wanted) + functional.mse_loss(prior, wanted_prior)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.detach().item()
    return _now() - started


def _learner(pipeline: Any, pixels: torch.Tensor) -> dreambooth.DreamBooth:
    latents = latents_of(pipeline, pixels)
    return dreambooth.prepare(
        pipeline, (latents, latents.clone()), ("sks jar of jam", "jar of jam"), dreambooth.Options(), 0
    )


def _trainable(unet: Any) -> Any:
    copied = UNet2DConditionModel.from_config(unet.config).to(unet.device)
    copied.load_state_dict(unet.state_dict())
    return copied.train().requires_grad_(True)


def _flops(pipeline: Any, pixels: torch.Tensor) -> int:
    """Count one step's work on the UNet, forward and backward (2 FLOP per multiply-add); caching spares the rest."""
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
