"""Candidates from Stable Diffusion (Rombach et al. 2022), through the diffusers pipelines.

A picture depends on its prompt, its seed and the size of its bucket, never on its neighbours. Each candidate has its
own CPU generator, a bucket holds candidates of one brief only, and it is padded to a fixed size. Shared buckets would
be faster for briefs of one or two candidates. But a kernel may sum in another order at another position of the batch,
so the same event could give other bytes with other neighbours.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from models.briefs import Format, Sampler
from models.images import signed_to_pixels
from models.rendering import samplers
from models.rendering.formats import shape_of
from models.stages import StepCallback, ignore_steps
from models.weights.pipelines import Pipeline

# From this side on the VAE decodes one picture at a time. That is as fast, and takes an eighth of the memory.
SLICED = 512


@dataclass(frozen=True)
class Sampling:
    """The settings of a generator.

    size: native side of a square in pixels. bucket: the most candidates in one call.
    sampler: None follows the rule of `samplers.choose`.
    """

    size: int
    steps: int = 20
    guidance_scale: float = 7.5
    bucket: int = 8
    sampler: Sampler | None = None


class DiffusionGenerator:
    """A Generator over a diffusers pipeline. A concept may change `pipeline` between calls, never during one.

    Raises UnusableSampler.
    """

    def __init__(self, pipeline: Pipeline, sampling: Sampling, device: torch.device) -> None:
        self.pipeline = pipeline
        self.sampling = sampling
        self.device = device
        pipeline.scheduler = samplers.choose(pipeline.scheduler, sampling.sampler, sampling.steps)
        self.scheduler_name = type(pipeline.scheduler).__name__
        pipeline.to(device)
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
        if sampling.size >= SLICED and hasattr(pipeline.vae, "enable_slicing"):
            pipeline.vae.enable_slicing()

    @property
    def size(self) -> int:
        """The native side of a square picture in pixels."""
        return self.sampling.size

    @property
    def grain(self) -> int:
        """Width and height of a picture are multiples of this many pixels."""
        pipeline = self.pipeline
        side: int = pipeline.vae_scale_factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
        return math.lcm(side, 8)

    def unguided(self) -> DiffusionGenerator:
        """Return a generator without classifier-free guidance, on the same networks; its pictures vary more."""
        other = copy(self)
        other.sampling = replace(self.sampling, guidance_scale=1.0)
        return other

    def shape(self, picture_format: Format) -> tuple[int, int]:
        """Return (height, width) in pixels of a format."""
        return shape_of(picture_format, self.size, self.grain)

    @torch.inference_mode()
    def generate(
        self,
        prompt: str,
        negative_prompt: str,
        seeds: tuple[int, ...],
        picture_format: Format = "square",
        report: StepCallback = ignore_steps,
    ) -> torch.Tensor:
        """Return float32 pixels (len(seeds),3,H,W) in [0,1], on the device, one per seed, in order.

        If a bucket does not fit into the device's memory, the generator tries its two halves once.
        Raises torch.OutOfMemoryError, and what report raises.
        """
        conditioning = self._encode(prompt, negative_prompt)
        buckets = split_into_buckets(len(seeds), self.sampling.bucket)
        steps = _StepCounter(report, len(buckets), self.sampling.steps)
        pictures = []
        for start, end, padded in buckets:
            latents = self._latents(seeds[start:end], picture_format, padded)
            pictures.append(self._denoise_and_decode(latents, conditioning, seeds[start:end], steps)[: end - start])
            steps.bucket += 1
        return torch.cat(pictures)

    def _encode(self, prompt: str, negative_prompt: str) -> dict[str, torch.Tensor]:
        """Return the text embeddings (1,tokens,D) and, for SDXL, the pooled ones (1,D), by the pipeline's names."""
        pipeline = self.pipeline
        guided = self.sampling.guidance_scale > 1
        names = ["prompt_embeds", "negative_prompt_embeds"]
        if isinstance(pipeline, StableDiffusionXLPipeline):
            embeds = pipeline.encode_prompt(
                prompt=prompt,
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=guided,
                negative_prompt=negative_prompt,
            )
            names = [*names, "pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
        else:
            embeds = pipeline.encode_prompt(prompt, self.device, 1, guided, negative_prompt)
        return {name: value for name, value in zip(names, embeds, strict=True) if value is not None}

    def _latents(self, seeds: tuple[int, ...], picture_format: Format, padded: int) -> torch.Tensor:
        """Return noise (padded,4,h,w) from the CPU, float32, one row per seed; the last one repeats as padding."""
        factor = self.pipeline.vae_scale_factor
        height, width = (side // factor for side in self.shape(picture_format))
        shape = (1, self.pipeline.unet.config.in_channels, height, width)
        rows = [torch.randn(shape, generator=_generator(seed)) for seed in seeds]
        rows += rows[-1:] * (padded - len(rows))
        return torch.cat(rows)

    def _denoise_and_decode(
        self, latents: torch.Tensor, conditioning: dict[str, torch.Tensor], seeds: tuple[int, ...], steps: _StepCounter
    ) -> torch.Tensor:
        try:
            return self._decode(self._denoise(latents, conditioning, seeds, steps))
        except torch.OutOfMemoryError:
            if len(latents) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(latents) // 2
        first = self._decode(self._denoise(latents[:half], conditioning, seeds[:half], steps))
        second = self._decode(self._denoise(latents[half:], conditioning, seeds[half:] or seeds[-1:], steps))
        return torch.cat([first, second])

    def _denoise(
        self, latents: torch.Tensor, conditioning: dict[str, torch.Tensor], seeds: tuple[int, ...], steps: _StepCounter
    ) -> torch.Tensor:
        factor = self.pipeline.vae_scale_factor
        count = len(latents)
        rows = [*seeds, *seeds[-1:] * (count - len(seeds))]
        return self.pipeline(  # type: ignore[no-any-return]
            **{name: value.repeat_interleave(count, 0) for name, value in conditioning.items()},
            height=latents.shape[-2] * factor,
            width=latents.shape[-1] * factor,
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance_scale,
            latents=latents.to(self.device, self.pipeline.unet.dtype),
            # Few-step samplers add noise at each step. A second stream of the seed keeps it apart from the latents.
            generator=[_generator(seed, stream=1) for seed in rows],
            output_type="latent",
            callback_on_step_end=steps,
        ).images

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return float32 pixels (N,3,H,W) in [0,1] of scaled latents (N,4,h,w)."""
        vae = self.pipeline.vae
        mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
        latents = latents / vae.config.scaling_factor
        if mean is not None and deviation is not None:
            latents = latents * _channels(deviation, latents) + _channels(mean, latents)
        if vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False):
            vae.to(torch.float32)  # SDXL's VAE overflows in half precision
        return signed_to_pixels(vae.decode(latents.to(vae.dtype), return_dict=False)[0])


class _StepCounter:
    """Counts the steps of all buckets. diffusers calls it at the end of each step."""

    def __init__(self, report: StepCallback, buckets: int, steps: int) -> None:
        self.report, self.buckets, self.steps, self.bucket = report, buckets, steps, 0

    def __call__(self, _pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        total = self.buckets * self.steps
        self.report(min(self.bucket * self.steps + step + 1, total), total)
        return tensors


def split_into_buckets(count: int, bucket: int) -> list[tuple[int, int, int]]:
    """Return (start, end, padded size) of each bucket: full ones, then the rest padded to a power of two.

    Few different sizes mean few shapes to compile. Padding wastes less than half of one bucket.
    """
    whole = [(start, start + bucket, bucket) for start in range(0, count - bucket + 1, bucket)]
    start = len(whole) * bucket
    rest = count - start
    return whole if rest == 0 else [*whole, (start, count, min(bucket, 1 << (rest - 1).bit_length()))]


def _generator(seed: int, stream: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed((seed + stream * 0x9E3779B97F4A7C15) % 2**64)


def _channels(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1).to(like)
