"""The folder of one product that `creatives train` fills: the training job, the photos and the concept."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.briefs import Concept, TrainingJob
from models.photo_files import PhotoFile
from streams.cli.terminal import InputError

JOB_FILE, PHOTO_FOLDER, CONCEPT_FILE = "training-job.json", "photos", "concept.safetensors"


def product_folder(product: str) -> Path:
    """Return the default folder of a product."""
    return Path("products") / product


def write_training_job(folder: Path, photos: tuple[bytes, ...], fields: dict[str, Any]) -> TrainingJob:
    """Write a training job and its photos into `folder` and return it. fields: the other fields of `TrainingJob`."""
    (folder / PHOTO_FOLDER).mkdir(parents=True, exist_ok=True)
    for old in (folder / PHOTO_FOLDER).iterdir():
        old.unlink()
    for number, content in enumerate(photos, 1):
        (folder / PHOTO_FOLDER / f"{number:02d}").write_bytes(content)
    (folder / JOB_FILE).write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return read_training_job(folder)


def read_training_job(folder: Path) -> TrainingJob:
    """Return the training job in `folder`. Raises InputError if there is none."""
    try:
        fields = json.loads((folder / JOB_FILE).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no training job. Train the product first with `creatives train`.") from None
    photos = tuple(PhotoFile.at(path) for path in sorted((folder / PHOTO_FOLDER).iterdir()))
    return TrainingJob(
        request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(fields, sort_keys=True))),
        photos=photos,
        workdir=str(folder),
        class_cache=str(folder.parent / "class-images"),
        **fields,
    )


def evaluation_job(training_job: TrainingJob) -> TrainingJob:
    """Return a job that scores the trained concept and trains nothing. Raises InputError if there is no concept."""
    path = Path(training_job.workdir) / CONCEPT_FILE
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(
            f"{training_job.workdir} holds no concept: the training did not finish. Run `creatives train` again."
        ) from None
    concept = Concept(
        training_job.product_id,
        training_job.method,
        str(path),
        digest,
        training_job.placeholder_token,
        training_job.class_noun,
    )
    return replace(training_job, request_id=str(uuid.uuid4()), concept=concept)
