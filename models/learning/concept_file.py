"""The file of a trained concept, in the layout that stock diffusers reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.briefs import Concept, TrainingJob
from models.stages import StepCallback, ignore_steps
from models.weights.checkpoints import sha256_of
from models.weights.tensor_file import write_tensors

CONCEPT_FILE = "concept.safetensors"


def write_concept(
    tensors: Mapping[str, Tensor],
    training_job: TrainingJob,
    steps: int,
    folder: Path,
    report: StepCallback = ignore_steps,
) -> Concept:
    """Write the concept file into `folder` atomically. Equal tensors give equal bytes. Raises what `report` raises."""
    path = folder / CONCEPT_FILE
    meta = {
        "format": "pt",
        "method": training_job.method,
        "placeholder_token": training_job.placeholder_token,
        "class_noun": training_job.class_noun,
        "steps": str(steps),
    }
    write_tensors(tensors, path, meta, report)
    return Concept(
        product_id=training_job.product_id,
        method=training_job.method,
        path=str(path),
        sha256=sha256_of(path, report),
        placeholder_token=training_job.placeholder_token,
        class_noun=training_job.class_noun,
    )
