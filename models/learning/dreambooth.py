"""DreamBooth (Ruiz et al. 2022): fine-tune the weights so that a rare word before a class noun means one product.

Prior preservation adds the same loss on class images, pictures of the class noun alone that the base model made, so
that other members of the class keep their looks. `dreambooth_lora` trains low-rank adapters (Hu et al. 2021) on the
attention layers instead of all weights.
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
    embed_tokens,
    make_denoiser,
    sample_rows,
    token_ids,
    trainable_copy,
    trainable_parameters,
)
from models.learning.losses import prior_preservation_loss
from models.weights.original_layout import original_state

PROMPT = "a photo of a {}"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Options:
    """The paper's settings for Stable Diffusion; `models.briefs.TrainingJob` describes the fields.

    Each step takes as many class images as photos. rank: None trains all weights.
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
    """A learner that trains the UNet, or its adapters, on cached latents.

    text_encoder: the one in training, or None. instances, classes: (N,C,h,w) latents of the photos and of the class
    images; classes is None without prior preservation. embeddings: returns the text embeddings (2,L,D) of the instance
    prompt and the class prompt.
    """

    denoiser: Denoiser
    text_encoder: nn.Module | None
    instances: Tensor
    classes: Tensor | None
    embeddings: Callable[[], Tensor]
    options: Options

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The UNet's unfrozen parameters, and those of a text encoder in training, under `text_encoder.`."""
        named = dict(trainable_parameters("", self.denoiser.unet))
        return named | (dict(trainable_parameters("text_encoder.", self.text_encoder)) if self.text_encoder else {})

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch of photos and, with prior preservation, as many class images (eq. 2)."""
        batch = self.options.batch
        instance_embedding, class_embedding = self.embeddings()
        latents = sample_rows(self.instances, batch, generator)
        embeddings = instance_embedding.expand(batch, -1, -1)
        if self.classes is not None:
            latents = torch.cat([latents, sample_rows(self.classes, batch, generator)])
            embeddings = torch.cat([embeddings, class_embedding.expand(batch, -1, -1)])
        prediction = self.denoiser.predict(latents, embeddings, generator)
        return prior_preservation_loss(
            prediction.predicted, prediction.target, batch, self.options.prior_loss_weight, prediction.weights
        )

    def concept_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the concept file, on the CPU, as stock diffusers reads them.

        Adapters, in float32: `pipeline.load_lora_weights(file)`.
        All weights of the UNet, in float16: `UNet2DConditionModel.from_single_file(file, config=)`.
        UNet and text encoder, in float16, in the original repository's layout and without the unchanged VAE:
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


def make_learner(
    pipeline: Any, latents: tuple[Tensor, Tensor | None], words: tuple[str, str], options: Options, seed: int
) -> DreamBooth:
    """Return a learner on copies of the pipeline's networks.

    latents: of the photos and of the class images, (N,C,h,w) each. seed: initializes the adapters.
    words: the subject (`sks jar of jam`) and the class noun.
    """
    instances, classes = latents
    ids = token_ids(pipeline.tokenizer, [PROMPT.format(word) for word in words])
    unet = trainable_copy(pipeline.unet)
    if options.rank is None:
        unet.requires_grad_(True)
    else:
        _add_adapters(unet, options.rank, seed)
    text_encoder, embeddings = _prompt_embeddings(pipeline, ids, options)
    denoiser = make_denoiser(pipeline, unet, options.snr_gamma)
    preserved = classes if options.prior_loss_weight > 0 else None
    return DreamBooth(denoiser, text_encoder, instances, preserved, embeddings, options)


def _prompt_embeddings(pipeline: Any, ids: Tensor, options: Options) -> tuple[nn.Module | None, Callable[[], Tensor]]:
    """Return the text encoder in training, or None, and a function that returns the prompts' embeddings.

    A frozen text encoder embeds the prompts once.
    """
    if options.train_text_encoder and options.rank is None:
        text_encoder = trainable_copy(pipeline.text_encoder).requires_grad_(True)
        return text_encoder, lambda: embed_tokens(text_encoder, ids)
    with torch.no_grad():
        cached = embed_tokens(pipeline.text_encoder, ids)
    return None, lambda: cached


def _add_adapters(unet: Any, rank: int, seed: int) -> None:
    """Add adapters to the attention layers. peft draws from the global generator, whose state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION)))
