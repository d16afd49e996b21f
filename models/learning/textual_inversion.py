"""Textual Inversion (Gal et al. 2022): the model is frozen; only the embedding of a new word learns the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.learning.denoiser import Denoiser, denoiser_of, drawn, embeddings_of, token_ids, trainable_copy
from models.learning.losses import denoising_loss

# Neutral contexts, after Gal et al. 2022, appendix: the word must carry the product, not its surroundings.
CONTEXTS = (
    "a photo of a {}",
    "a rendering of a {}",
    "a cropped photo of the {}",
    "the photo of a {}",
    "a photo of a clean {}",
    "a photo of my {}",
    "a photo of the cool {}",
    "a close-up photo of a {}",
    "a bright photo of the {}",
    "a good photo of the {}",
    "a photo of one {}",
    "a photo of the nice {}",
)


@dataclass(frozen=True)
class Options:
    """Settings. The paper trains 5,000 to 15,000 steps; most of the likeness is there after 3,000. batch: per step."""

    steps: int = 3000
    learning_rate: float = 5e-3
    batch: int = 4
    vectors: int = 1
    snr_gamma: float = 0.0
    early_stopping: bool = False


class PlaceholderEmbedding(nn.Module):
    """The text encoder's embedding for ids it has; ids beyond are rows of `vectors` (n,D), the only ones to move."""

    def __init__(self, frozen: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self.frozen = frozen
        self.vectors = nn.Parameter(vectors)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (..., D) embeddings of ids (...)."""
        own = self.frozen.num_embeddings
        known = self.frozen(ids.clamp(max=own - 1))
        # `embedding`, not indexing: the gradient of indexing adds in any order on several threads.
        new = nn.functional.embedding((ids - own).clamp(min=0), self.vectors)
        return torch.where((ids >= own)[..., None], new, known)


@dataclass(frozen=True)
class TextualInversion:
    """A learner: everything frozen but `embedding.vectors`. latents: (N,C,h,w); ids: (K,L), one row per context."""

    denoiser: Denoiser
    text_encoder: nn.Module
    embedding: PlaceholderEmbedding
    latents: Tensor
    ids: Tensor
    placeholder_token: str
    options: Options

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What moves."""
        return {"vectors": self.embedding.vectors}

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of one batch of photos, each under a context of its own (Gal et al. 2022, eq. 2)."""
        latents = drawn(self.latents, self.options.batch, generator)
        states = embeddings_of(self.text_encoder, drawn(self.ids, self.options.batch, generator))
        errors = self.denoiser.errors(latents, states, generator)
        return denoising_loss(errors.prediction, errors.wanted, errors.weights)

    def artefact(self) -> dict[str, Tensor]:
        """Return the tensors of the concept's file: what `load_textual_inversion` reads."""
        return {self.placeholder_token: self.embedding.vectors.detach().float().cpu()}


def prepare(pipeline: Any, latents: Tensor, words: tuple[str, str], options: Options) -> TextualInversion:
    """Return the learner. words: the placeholder token and the class noun, whose embeddings it starts from."""
    placeholder_token, class_noun = words
    text_encoder = trainable_copy(pipeline.text_encoder)
    frozen = text_encoder.get_input_embeddings()
    start = initial_vectors(frozen.weight, noun_ids(pipeline.tokenizer, class_noun), options.vectors)
    embedding = PlaceholderEmbedding(frozen, start)
    text_encoder.set_input_embeddings(embedding)
    denoiser = denoiser_of(pipeline, trainable_copy(pipeline.unet), options.snr_gamma)
    ids = context_ids(pipeline.tokenizer, frozen.num_embeddings, options.vectors)
    return TextualInversion(denoiser, text_encoder, embedding, latents, ids, placeholder_token, options)


def noun_ids(tokenizer: Any, class_noun: str) -> Tensor:
    """Return the (K,) ids of the words' pieces, without start and end; none for the empty string."""
    ids = tokenizer(class_noun, add_special_tokens=False).input_ids if class_noun else []
    return torch.tensor(ids, dtype=torch.long)


def initial_vectors(table: Tensor, ids: Tensor, vectors: int) -> Tensor:
    """Return (vectors,D): the noun's pieces in order, repeated; or, for fewer vectors, means of neighbouring pieces."""
    rows = table.detach()[ids.to(table.device)]
    if vectors >= len(rows):
        return rows[torch.arange(vectors, device=rows.device) % len(rows)].clone()
    return torch.stack([part.mean(0) for part in torch.tensor_split(rows, vectors)])


def context_ids(tokenizer: Any, first: int, vectors: int) -> Tensor:
    """Return (K,L) ids of the contexts, the placeholder's `vectors` ids counting on from `first`.

    Put together by hand, so the shared tokenizer never learns the new word.
    """
    empty = token_ids(tokenizer, [""])[0].tolist()
    room = tokenizer.model_max_length - 2
    rows = []
    for context in CONTEXTS:
        before, after = (noun_ids(tokenizer, part.strip()).tolist() for part in context.split("{}"))
        inner = [*before, *range(first, first + vectors), *after][:room]
        rows.append([empty[0], *inner, tokenizer.eos_token_id, *empty[2 + len(inner) :]])
    return torch.tensor(rows)
