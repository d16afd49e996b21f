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
from models.errors import NonFiniteOutput
from models.precision import finite_rows, non_finite
from models.rendering import samplers
from models.rendering.decoding import Decoder
from models.rendering.formats import shape_of
from models.stages import StepCallback, ignore_steps
from models.weights.pipelines import Pipeline

# From this side on the VAE decodes one picture at a time. That is as fast, and takes an eighth of the memory.
SLICED = 512
PROBE_SIDE, PROBE_STEPS = 64, 2


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

    vae_dtype: the precision to decode in; None leaves the VAE as it is. Raises UnusableSampler.
    """

    def __init__(
        self, pipeline: Pipeline, sampling: Sampling, device: torch.device, vae_dtype: torch.dtype | None = None
    ) -> None:
        self.pipeline = pipeline
        self.sampling = sampling
        self.device = device
        pipeline.scheduler = samplers.choose(pipeline.scheduler, sampling.sampler, sampling.steps)
        self.scheduler_name = type(pipeline.scheduler).__name__
        pipeline.to(device)
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
        self.decoder = Decoder(pipeline.vae, vae_dtype or pipeline.vae.dtype)
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

    def probe(self) -> torch.Tensor:
        """Return one small picture (1,3,S,S) after two steps: whether the networks work shows in a moment.

        Raises NonFiniteOutput.
        """
        other = copy(self)
        side = math.ceil(PROBE_SIDE / self.grain) * self.grain
        other.sampling = replace(self.sampling, steps=PROBE_STEPS, size=side)
        return other.generate("a photo", "", (0,))

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

        A picture whose values are not finite is NaN throughout; if none is finite, NonFiniteOutput names the network.
        If a bucket does not fit into the device's memory, the generator tries its two halves once.
        Raises torch.OutOfMemoryError, NonFiniteOutput, and what report raises.
        """
        conditioning = self._encode(prompt, negative_prompt)
        buckets = split_into_buckets(len(seeds), self.sampling.bucket)
        steps = _StepCounter(report, len(buckets), self.sampling.steps)
        drawn = []
        for start, end, padded in buckets:
            noise = self._latents(seeds[start:end], picture_format, padded)
            parts = self._denoise_and_decode(noise, conditioning, seeds[start:end], steps)
            drawn.append([part[: end - start] for part in parts])
            steps.bucket += 1
        latents, pixels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        if not finite_rows(pixels).any():
            raise self._non_finite(latents)
        return pixels

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
                # An absent negative prompt is no text at all: SDXL was trained with zeroed embeddings in its place.
                negative_prompt=negative_prompt or None,
            )
            names = [*names, "pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
        else:
            embeds = pipeline.encode_prompt(prompt, self.device, 1, guided, negative_prompt)
        conditioning = {name: value for name, value in zip(names, embeds, strict=True) if value is not None}
        if not all(value.isfinite().all() for value in conditioning.values()):
            raise non_finite("text encoder", pipeline.text_encoder.dtype)
        return conditioning

    def _latents(self, seeds: tuple[int, ...], picture_format: Format, padded: int) -> torch.Tensor:
        """Return noise (padded,4,h,w) from the CPU, float32, one row per seed; the last one repeats as padding."""
        factor = self.pipeline.vae_scale_factor
        height, width = (side // factor for side in self.shape(picture_format))
        shape = (1, self.pipeline.unet.config.in_channels, height, width)
        rows = [torch.randn(shape, generator=_generator(seed)) for seed in seeds]
        rows += rows[-1:] * (padded - len(rows))
        return torch.cat(rows)

    def _denoise_and_decode(
        self, noise: torch.Tensor, conditioning: dict[str, torch.Tensor], seeds: tuple[int, ...], steps: _StepCounter
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the denoised latents (N,C,h,w) and their pixels (N,3,H,W)."""
        try:
            latents = self._denoise(noise, conditioning, seeds, steps)
            return latents, self.decoder.decode(latents)
        except torch.OutOfMemoryError:
            if len(noise) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(noise) // 2
        halves = []
        for rows, own in ((noise[:half], seeds[:half]), (noise[half:], seeds[half:] or seeds[-1:])):
            latents = self._denoise(rows, conditioning, own, steps)
            halves.append((latents, self.decoder.decode(latents)))
        first, second = halves
        return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])

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

    def _non_finite(self, latents: torch.Tensor) -> NonFiniteOutput:
        """Return the error for pictures none of which is finite. latents: (N,C,h,w), before decoding."""
        if finite_rows(latents).any():
            return non_finite("VAE", self.decoder.dtype)
        return non_finite("UNet", self.pipeline.unet.dtype)


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
