"""The network under training and its error on noised latents; what does not change is computed once."""

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
from models.learning.losses import PredictionType, min_snr_weights, noised, target

ENCODED_AT_ONCE = 8


@dataclass(frozen=True)
class Errors:
    """What the network said, what it should have said, (N,C,h,w) each, and the samples' weights (N,), if any."""

    prediction: Tensor
    wanted: Tensor
    weights: Tensor | None


@dataclass(frozen=True)
class Denoiser:
    """A UNet and the family's noise schedule. Noise and timesteps come from a CPU generator: the same on any device.

    Errors are in the latents' precision. snr_gamma: 0 weighs every timestep alike.
    """

    unet: nn.Module
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    snr_gamma: float = 0.0

    def errors(self, latents: Tensor, embeddings: Tensor, generator: torch.Generator) -> Errors:
        """Noise `latents` (N,C,h,w) to random timesteps and predict, given text `embeddings` (N,L,D)."""
        count = latents.shape[0]
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        timesteps = torch.randint(0, len(self.alphas_cumprod), (count,), generator=generator).to(latents.device)
        with mixed_precision(latents.device):
            prediction = self.unet(noised(latents, noise, timesteps, self.alphas_cumprod), timesteps, embeddings)[0]
        wanted = target(latents, noise, timesteps, self.alphas_cumprod, self.prediction_type)
        weights = None
        if self.snr_gamma:
            weights = min_snr_weights(timesteps, self.alphas_cumprod, self.snr_gamma, self.prediction_type)
        return Errors(prediction.to(wanted.dtype), wanted, weights)


def denoiser_of(pipeline: Any, unet: nn.Module, snr_gamma: float) -> Denoiser:
    """Return a denoiser around `unet` with the pipeline's own schedule and prediction type."""
    table = pipeline.scheduler.alphas_cumprod.to(module_device(unet), torch.float32)
    return Denoiser(unet, table, pipeline.scheduler.config.prediction_type, snr_gamma)


def trainable_copy(module: nn.Module) -> Any:
    """Return a float32 copy to train: the studio's own weights are never touched. Frozen; the caller unfreezes."""
    plain = getattr(module, "_orig_mod", module)
    student = copy.deepcopy(plain).float().train().requires_grad_(False)
    if module_device(student).type == "cuda":
        student = student.to(memory_format=torch.channels_last)
        _spare_memory(student)
    return student


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 on CUDA, where weights and moments stay float32; in float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def latents_of(pipeline: Any, pixels: Tensor) -> Tensor:
    """Return scaled float32 latents (N,C,h,w) of pixels (N,3,H,W): the posterior's mean, so encoding once is exact."""
    vae = pipeline.vae
    device, dtype = module_device(vae), next(vae.parameters()).dtype
    encoded = []
    for part in pixels.split(ENCODED_AT_ONCE):
        answer = vae.encode(pixels_to_signed(part).to(device, dtype))
        encoded.append(answer.latent_dist.mean if hasattr(answer, "latent_dist") else answer.latents)
    shift, scale = float(getattr(vae.config, "shift_factor", None) or 0.0), float(vae.config.scaling_factor)
    return (torch.cat(encoded).float() - shift) * scale


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Return (N,L) padded ids, as the stock pipeline makes them."""
    batch = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    ids: Tensor = batch.input_ids
    return ids


def embeddings_of(text_encoder: nn.Module, ids: Tensor) -> Tensor:
    """Return text states (N,L,D) of token ids (N,L): float32, or the text encoder's own precision where finer."""
    device = module_device(text_encoder)
    with mixed_precision(device):
        states: Tensor = text_encoder(ids.to(device))[0]
    return states.to(torch.promote_types(states.dtype, torch.float32))


def drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` rows drawn with replacement by a CPU generator."""
    return rows[torch.randint(0, rows.shape[0], (count,), generator=generator).to(rows.device)]


def named_trainable(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the unfrozen parameters under names that start with `prefix`."""
    return ((f"{prefix}{name}", parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _spare_memory(student: Any) -> None:
    """Recompute activations only where they would not fit beside gradients and both moments (12 bytes a weight)."""
    free, _ = torch.cuda.mem_get_info(module_device(student))
    weights = sum(parameter.numel() for parameter in student.parameters())
    if free < 12 * weights + 12 * 2**30 and hasattr(student, "enable_gradient_checkpointing"):
        student.enable_gradient_checkpointing()
