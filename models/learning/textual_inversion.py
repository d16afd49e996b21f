"""Textual Inversion (Gal et al. 2022): train the embedding of a new token for the product and freeze the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.learning.denoiser import Denoiser, embed_tokens, make_denoiser, sample_rows, token_ids, trainable_copy
from models.learning.losses import denoising_loss

# Neutral contexts, after Gal et al. 2022, appendix: the token must stand for the product, not for its surroundings.
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
    """The method's settings; `models.briefs.TrainingJob` describes the fields.

    The paper trains for 5,000 to 15,000 steps; 3,000 steps reach most of the likeness.
    """

    steps: int = 3000
    learning_rate: float = 5e-3
    batch: int = 4
    vectors: int = 1
    snr_gamma: float = 0.0
    early_stopping: bool = False


class PlaceholderEmbedding(nn.Module):
    """A frozen embedding table that `vectors` (n,D) extend; only the vectors are trained."""

    def __init__(self, frozen: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self.frozen = frozen
        self.vectors = nn.Parameter(vectors)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (..., D) embeddings of ids (...); ids past the frozen table select the vectors."""
        table_size = self.frozen.num_embeddings
        frozen = self.frozen(ids.clamp(max=table_size - 1))
        # `embedding`, not indexing: the gradient of indexing adds up in an undefined order on several threads.
        trained = nn.functional.embedding((ids - table_size).clamp(min=0), self.vectors)
        return torch.where((ids >= table_size)[..., None], trained, frozen)


@dataclass(frozen=True)
class TextualInversion:
    """A learner that trains `embedding.vectors` alone. latents: (N,C,h,w); ids: (K,L), one row per context."""

    denoiser: Denoiser
    text_encoder: nn.Module
    embedding: PlaceholderEmbedding
    latents: Tensor
    ids: Tensor
    placeholder_token: str
    options: Options

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The vectors of the placeholder token."""
        return {"vectors": self.embedding.vectors}

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of one batch of photos, each with a random context (Gal et al. 2022, eq. 2)."""
        latents = sample_rows(self.latents, self.options.batch, generator)
        embeddings = embed_tokens(self.text_encoder, sample_rows(self.ids, self.options.batch, generator))
        prediction = self.denoiser.predict(latents, embeddings, generator)
        return denoising_loss(prediction.predicted, prediction.target, prediction.weights)

    def concept_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the concept file, on the CPU, for stock diffusers: `load_textual_inversion(file)`."""
        return {self.placeholder_token: self.embedding.vectors.detach().float().cpu()}


def make_learner(pipeline: Any, latents: Tensor, words: tuple[str, str], options: Options) -> TextualInversion:
    """Return a learner on copies of the pipeline's networks. latents: of the photos, (N,C,h,w).

    words: the placeholder token, and the class noun that initializes its vectors.
    """
    placeholder_token, class_noun = words
    text_encoder = trainable_copy(pipeline.text_encoder)
    frozen = text_encoder.get_input_embeddings()
    vectors = initial_vectors(frozen.weight, word_ids(pipeline.tokenizer, class_noun), options.vectors)
    embedding = PlaceholderEmbedding(frozen, vectors)
    text_encoder.set_input_embeddings(embedding)
    denoiser = make_denoiser(pipeline, trainable_copy(pipeline.unet), options.snr_gamma)
    ids = context_ids(pipeline.tokenizer, frozen.num_embeddings, options.vectors)
    return TextualInversion(denoiser, text_encoder, embedding, latents, ids, placeholder_token, options)


def word_ids(tokenizer: Any, words: str) -> Tensor:
    """Return the (K,) token ids of the words, without start and end tokens; none for the empty string."""
    ids = tokenizer(words, add_special_tokens=False).input_ids if words else []
    return torch.tensor(ids, dtype=torch.long)


def initial_vectors(table: Tensor, ids: Tensor, vectors: int) -> Tensor:
    """Return (vectors,D) from the rows `ids` of the embedding table (V,D).

    The rows repeat in order if there are more vectors than rows; otherwise each vector is the mean of neighbouring
    rows.
    """
    rows = table.detach()[ids.to(table.device)]
    if vectors >= len(rows):
        return rows[torch.arange(vectors, device=rows.device) % len(rows)].clone()
    return torch.stack([part.mean(0) for part in torch.tensor_split(rows, vectors)])


def context_ids(tokenizer: Any, first: int, vectors: int) -> Tensor:
    """Return (K,L) ids of the contexts. The placeholder token has the ids `first` to `first + vectors - 1`.

    This function joins the ids itself, because the studio shares the tokenizer, which must not get the new token.
    """
    empty = token_ids(tokenizer, [""])[0].tolist()
    room = tokenizer.model_max_length - 2
    rows = []
    for context in CONTEXTS:
        before, after = (word_ids(tokenizer, part.strip()).tolist() for part in context.split("{}"))
        inner = [*before, *range(first, first + vectors), *after][:room]
        rows.append([empty[0], *inner, tokenizer.eos_token_id, *empty[2 + len(inner) :]])
    return torch.tensor(rows)
