"""One training job in one studio, and the pictures that the studio generates for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from models.briefs import Brief, Concept, Stage, StudioPlan, TrainingJob
from models.learning.fidelity import ImageEmbedder
from models.learning.method_options import Options
from models.learning.training import JobReporter, generator_for
from models.precision import non_finite
from models.subjects import subject

PICTURES_KEPT = 2
SEED_LIMIT = 2**53  # product-ready carries these seeds, and readers of JSON round larger numbers


class TrainingStudio(Protocol):
    """The parts of `models.studio.Studio` that a training job uses."""

    plan: StudioPlan
    device: torch.device
    generator: Any
    reranker: Any
    recipe: Any
    negative_prompt: str
    training: Mapping[str, Mapping[str, float]]

    def full_precision_pipeline(self) -> Any: ...
    def apply_concept(self, brief: Brief, progress: Any) -> Any: ...
    def draw(self, brief: Brief, progress: Any) -> Any: ...
    def encode(self, drawn: Any) -> Any: ...


@dataclass(frozen=True)
class TrainingRun:
    """A training job, the studio it runs in, and the job's reporter. dino: for a second fidelity score."""

    studio: TrainingStudio
    training_job: TrainingJob
    reporter: JobReporter
    options: Options
    dino: ImageEmbedder | None = None

    def subject(self) -> str:
        """Return the product's name in prompts."""
        job = self.training_job
        return subject(job.placeholder_token, job.class_noun, job.method)

    def brief(self, prompt: str, seeds: tuple[int, ...], concept: Concept | None) -> Brief:
        """Return a brief with the studio's negative prompt. concept: None for the base model."""
        request_id = self.training_job.request_id
        return Brief(request_id, prompt, self.studio.negative_prompt, seeds, PICTURES_KEPT, concept=concept)

    def generate(self, prompt: str, seeds: tuple[int, ...], concept: Concept | None) -> Tensor:
        """Return pixels (len(seeds),3,S,S) in [0,1], on the CPU. concept: None for the base model."""
        return self._generate(self.studio.generator, self.brief(prompt, seeds, concept), "evaluate")

    def generate_unguided(self, prompt: str, seeds: tuple[int, ...]) -> Tensor:
        """Return pixels (len(seeds),3,S,S) in [0,1] of the base model without guidance, on the CPU."""
        return self._generate(self.studio.generator.unguided(), self.brief(prompt, seeds, None), "prior")

    def _generate(self, generator: Any, brief: Brief, stage: Stage) -> Tensor:
        with self.studio.apply_concept(brief, self.reporter.progress) as prompt:
            pixels: Tensor = generator.generate(
                prompt,
                brief.negative_prompt,
                brief.seeds,
                report=lambda done, total: self.reporter.progress(stage, done, total),
            )
        if not pixels.isfinite().all():
            raise non_finite("diffusion network", generator.pipeline.unet.dtype)
        return pixels.clone().cpu()


def seeds_for(purpose: str, text: str, count: int) -> tuple[int, ...]:
    """Return seeds below SEED_LIMIT. They depend on the arguments alone, so all models start from equal noise."""
    return tuple(generator_for(0, purpose, text, number).initial_seed() % SEED_LIMIT for number in range(count))


def identity_digest(parts: list[Any]) -> str:
    """Return the sha256 of JSON values that identify a result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
