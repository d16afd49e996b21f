"""The file of a learned product, written as stock diffusers reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.briefs import Concept, TrainingJob
from models.weights.checkpoints import sha256_of
from models.weights.tensor_file import write_tensors

FILE = "concept.safetensors"


def write_concept(tensors: Mapping[str, Tensor], training_job: TrainingJob, steps: int, folder: Path) -> Concept:
    """Write a concept's file, whole or not at all. Equal tensors, equal bytes."""
    path = folder / FILE
    meta = {
        "format": "pt",
        "method": training_job.method,
        "placeholder_token": training_job.placeholder_token,
        "class_noun": training_job.class_noun,
        "steps": str(steps),
    }
    write_tensors(dict(tensors), path, meta)
    told = (training_job.placeholder_token, training_job.class_noun)
    return Concept(training_job.product_id, training_job.method, str(path), sha256_of(path), *told)
