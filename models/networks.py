"""The parts of a studio. The Protocols define what it needs from its networks; tests/models/fakes.py has small fakes.

A new stage is one file in `models/rendering` with a Scorer or a Finisher, and one line in `models/opening.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.briefs import Brief, Candidate, Format
from models.images import Encoded
from models.rendering.provenance import Origin
from models.stages import StepCallback


class Generator(Protocol):
    """Makes candidates."""

    pipeline: Any

    def generate(
        self,
        prompt: str,
        negative_prompt: str,
        seeds: tuple[int, ...],
        picture_format: Format = ...,
        report: StepCallback = ...,
    ) -> torch.Tensor:
        """Return pixels (len(seeds),3,H,W) in [0,1], one picture per seed, each independent of the others.

        A picture that is not finite is NaN throughout. Raises NonFiniteOutput if none is finite.
        """
        ...

    def probe(self) -> torch.Tensor:
        """Return one small picture (1,3,H,W) in [0,1], made in a moment."""
        ...


class Reranker(Protocol):
    """Scores how well a candidate fits the prompt."""

    def score(self, pixels: torch.Tensor, prompt: str) -> list[dict[str, float]]:
        """Return the scores of each picture of pixels (N,3,H,W) in [0,1]; `clip` decides the order."""
        ...


class Scorer(Protocol):
    """Adds scores to those of the reranker."""

    def score(self, pixels: torch.Tensor, brief: Brief) -> list[dict[str, float]]:
        """Return the scores of each picture of pixels (N,3,H,W) in [0,1], under names that no other scorer uses."""
        ...


class Upscaler(Protocol):
    """Enlarges a picture."""

    scale: int

    def upscale(self, pixels: torch.Tensor, report: StepCallback = ...) -> torch.Tensor:
        """Return pixels (1,3,scale*H,scale*W) in [0,1] of pixels (1,3,H,W) in [0,1]."""
        ...


class Finisher(Protocol):
    """Improves a kept, enlarged picture."""

    def finish(self, pixels: torch.Tensor, brief: Brief, candidate: Candidate) -> tuple[torch.Tensor, dict[str, float]]:
        """Return pixels of the same shape (1,3,H,W) in [0,1], and figures that join the candidate's scores."""
        ...


class Encoder(Protocol):
    """Writes a picture as a file."""

    def __call__(self, bytes_hwc: NDArray[np.uint8], origin: Origin) -> Encoded:
        """Return the file of a picture, uint8 (H,W,3), with its origin inside. The same input gives the same bytes."""
        ...


class FullPrecision(Protocol):
    """The diffusion weights in float32, whatever precision the generator works in."""

    def pipeline(self) -> Any:
        """Return a pipeline in float32 on the device, which the caller must not change."""
        ...

    def unet_weights(self, names: set[str]) -> Mapping[str, torch.Tensor]:
        """Return UNet parameters by name, in float32."""
        ...


@dataclass(frozen=True)
class Networks:
    """The parts of a studio.

    scorers, finishers: run in this order; a finisher gets the picture of the one before it.
    negative_prompt, training, vocabulary: the diffusion family's own; see `families.Family`.
    full_precision: the diffusion weights in float32; None: the generator's own are.
    """

    generator: Generator
    reranker: Reranker
    upscaler: Upscaler
    encoder: Encoder
    negative_prompt: str = ""
    training: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scorers: tuple[Scorer, ...] = ()
    finishers: tuple[Finisher, ...] = ()
    full_precision: FullPrecision | None = None
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)
