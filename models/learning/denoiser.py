"""The network in training, its prediction on noised latents, and the inputs that a learner computes once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.devices import module_device
from models.images import pixels_to_signed
from models.latents import from_vae
from models.learning.losses import PredictionType, add_noise, min_snr_weights, prediction_target
from models.stages import StepCallback, ignore_steps

ENCODING_BATCH = 8


@dataclass(frozen=True)
class Prediction:
    """The network's prediction and its target, (N,C,h,w) each, and the samples' loss weights (N,), or None."""

    predicted: Tensor
    target: Tensor
    weights: Tensor | None


@dataclass(frozen=True)
class Denoiser:
    """A UNet and its noise schedule. Noise and timesteps come from a CPU generator, so every device gets the same.

    snr_gamma: 0 weights all timesteps equally.
    """

    unet: nn.Module
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    snr_gamma: float = 0.0

    def predict(self, latents: Tensor, embeddings: Tensor, generator: torch.Generator) -> Prediction:
        """Add noise of random timesteps to `latents` (N,C,h,w), and predict from it and text `embeddings` (N,L,D).

        The prediction has the precision of the latents.
        """
        count = latents.shape[0]
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        timesteps = torch.randint(0, len(self.alphas_cumprod), (count,), generator=generator).to(latents.device)
        with mixed_precision(latents.device):
            noisy = add_noise(latents, noise, timesteps, self.alphas_cumprod)
            predicted = self.unet(noisy, timesteps, embeddings)[0]
        target = prediction_target(latents, noise, timesteps, self.alphas_cumprod, self.prediction_type)
        weights = None
        if self.snr_gamma:
            weights = min_snr_weights(timesteps, self.alphas_cumprod, self.snr_gamma, self.prediction_type)
        return Prediction(predicted.to(target.dtype), target, weights)


def make_denoiser(pipeline: Any, unet: nn.Module, snr_gamma: float) -> Denoiser:
    """Return a denoiser around `unet` with the noise schedule and prediction type of the pipeline."""
    schedule = pipeline.scheduler.alphas_cumprod.to(module_device(unet), torch.float32)
    return Denoiser(unet, schedule, pipeline.scheduler.config.prediction_type, snr_gamma)


def trainable_copy(module: nn.Module) -> Any:
    """Return a frozen float32 copy; the caller unfreezes what it trains. The studio keeps its own weights."""
    copied = copy.deepcopy(module).float().train().requires_grad_(False)
    if module_device(copied).type == "cuda":
        copied = copied.to(memory_format=torch.channels_last)
        _limit_memory(copied)
    return copied


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 on CUDA, with weights and moments in float32; elsewhere in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def encode_latents(pipeline: Any, pixels: Tensor, report: StepCallback = ignore_steps) -> Tensor:
    """Return scaled float32 latents (N,C,h,w) of pixels (N,3,H,W). report: called with batches done and in total.

    They are the mean of the VAE's posterior, not a sample, so caching them loses nothing.
    """
    vae = pipeline.vae
    device, dtype = module_device(vae), next(vae.parameters()).dtype
    encoded = []
    for part in pixels.split(ENCODING_BATCH):
        output = vae.encode(pixels_to_signed(part).to(device, dtype))
        encoded.append(output.latent_dist.mean if hasattr(output, "latent_dist") else output.latents)
        report(len(encoded), -(-len(pixels) // ENCODING_BATCH))
    return from_vae(torch.cat(encoded), vae.config)


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Return the (N,L) ids of the prompts, padded as the stock pipeline pads them."""
    batch = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    ids: Tensor = batch.input_ids
    return ids


def embed_tokens(text_encoder: nn.Module, ids: Tensor) -> Tensor:
    """Return text embeddings (N,L,D) of token ids (N,L), in float32 or in the text encoder's precision if finer."""
    device = module_device(text_encoder)
    with mixed_precision(device):
        embeddings: Tensor = text_encoder(ids.to(device))[0]
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def sample_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` rows, sampled with replacement by a CPU generator."""
    return rows[torch.randint(0, rows.shape[0], (count,), generator=generator).to(rows.device)]


def trainable_parameters(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the unfrozen parameters, with `prefix` before each name."""
    return ((f"{prefix}{name}", parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _limit_memory(module: Any) -> None:
    """Recompute activations in the backward pass if memory is short.

    Gradients and AdamW's two moments take 12 bytes per weight; activations need about 12 GiB more.
    """
    free, _ = torch.cuda.mem_get_info(module_device(module))
    weights = sum(parameter.numel() for parameter in module.parameters())
    if free < 12 * weights + 12 * 2**30 and hasattr(module, "enable_gradient_checkpointing"):
        module.enable_gradient_checkpointing()
