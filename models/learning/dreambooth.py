"""DreamBooth (Ruiz et al. 2022): the weights themselves learn one product, tied to a rare word before its class noun.

Prior preservation keeps other members of the class apart: the same loss on pictures of the class noun alone, made by
the untrained model. `dreambooth_lora` is the same with low-rank adapters (Hu et al. 2021) on the attention layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from models.learning.denoiser import (
    Denoiser,
    denoiser_of,
    drawn,
    embeddings_of,
    named_trainable,
    token_ids,
    trainable_copy,
)
from models.learning.losses import prior_preservation_loss
from models.weights.original_layout import original_state

PROMPT = "a photo of a {}"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Options:
    """The paper's settings, for Stable Diffusion; see `models.briefs.Lesson`. rank: None learns all weights.

    As many class images as photos are in each step.
    """

    steps: int = 800
    learning_rate: float = 5e-6
    batch: int = 1
    prior_loss_weight: float = 1.0
    class_images: int = 200
    snr_gamma: float = 0.0
    early_stopping: bool = False
    train_text_encoder: bool = False
    rank: int | None = None


@dataclass(frozen=True)
class DreamBooth:
    """A learner: the denoiser unfrozen, cached latents, and the prompts' embeddings, cached where nothing moves them.

    instances, classes: (N,C,h,w) latents; classes is None without prior preservation.
    embeddings: returns (2,L,D), the instance prompt's and the class prompt's states.
    """

    denoiser: Denoiser
    text_encoder: nn.Module | None
    instances: Tensor
    classes: Tensor | None
    embeddings: Callable[[], Tensor]
    options: Options

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What moves: the UNet's unfrozen weights, and the text encoder's under `text_encoder.` where it is trained."""
        named = dict(named_trainable("", self.denoiser.unet))
        return named | (dict(named_trainable("text_encoder.", self.text_encoder)) if self.text_encoder else {})

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of one batch of photos and, with prior preservation, as many class images."""
        batch = self.options.batch
        shown, noun = self.embeddings()
        latents, states = drawn(self.instances, batch, generator), shown.expand(batch, -1, -1)
        if self.classes is not None:
            latents = torch.cat([latents, drawn(self.classes, batch, generator)])
            states = torch.cat([states, noun.expand(batch, -1, -1)])
        errors = self.denoiser.errors(latents, states, generator)
        return prior_preservation_loss(
            errors.prediction, errors.wanted, batch, self.options.prior_loss_weight, errors.weights
        )

    def artefact(self) -> dict[str, Tensor]:
        """Return the tensors of the concept's file, on the CPU, as stock diffusers reads them.

        Adapters, in float32: `pipeline.load_lora_weights(file)`.
        All weights, in float16: the UNet's under its own names, `UNet2DConditionModel.from_single_file(file, config=)`.
        With the text encoder trained, both in the original repository's layout, without the VAE, which did not move:
        `StableDiffusionPipeline.from_single_file(file, config=, vae=)`. config: the base model's folder.
        """
        if self.options.rank is not None:
            adapters = get_peft_model_state_dict(self.denoiser.unet)
            return {f"unet.{name}": value.detach().cpu() for name, value in adapters.items()}
        state = self.denoiser.unet.state_dict()
        if self.text_encoder is not None:
            state = original_state(self.denoiser.unet, self.text_encoder)
        return {name: value.to("cpu", torch.float16) for name, value in state.items()}


def class_prompt(class_noun: str) -> str:
    """Return the prompt of the class images."""
    return PROMPT.format(class_noun)


def prepare(
    pipeline: Any, latents: tuple[Tensor, Tensor | None], words: tuple[str, str], options: Options, seed: int
) -> DreamBooth:
    """Return the learner. latents: of the photos and of the class images; words: the subject's and the class noun."""
    instances, classes = latents
    ids = token_ids(pipeline.tokenizer, [PROMPT.format(word) for word in words])
    unet = trainable_copy(pipeline.unet)
    if options.rank is None:
        unet.requires_grad_(True)
    else:
        _add_adapters(unet, options.rank, seed)
    text_encoder, embeddings = _text(pipeline, ids, options)
    denoiser = denoiser_of(pipeline, unet, options.snr_gamma)
    kept = classes if options.prior_loss_weight > 0 else None
    return DreamBooth(denoiser, text_encoder, instances, kept, embeddings, options)


def _text(pipeline: Any, ids: Tensor, options: Options) -> tuple[nn.Module | None, Callable[[], Tensor]]:
    """Return the text encoder to train, if any, and what gives the prompts' states: a cache unless it is trained."""
    if options.train_text_encoder and options.rank is None:
        student = trainable_copy(pipeline.text_encoder).requires_grad_(True)
        return student, lambda: embeddings_of(student, ids)
    with torch.no_grad():
        cached = embeddings_of(pipeline.text_encoder, ids)
    return None, lambda: cached


def _add_adapters(unet: Any, rank: int, seed: int) -> None:
    """Wrap the attention layers; peft draws from the global generator, which is seeded here and left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION)))
