"""Run a training job: prepare the photos, generate class images, train, write the concept, score it, draw samples."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from models.briefs import Concept, TrainingJob, TrainingResult
from models.errors import TrainingDiverged, UnsupportedTraining
from models.learning import dreambooth, textual_inversion
from models.learning.class_images import CLASS_GUIDANCE, class_images
from models.learning.concept_file import write_concept
from models.learning.denoiser import encode_latents
from models.learning.dino import DinoEmbedder
from models.learning.dreambooth import DreamBooth
from models.learning.evaluation import sample_pictures, score_concept
from models.learning.method_options import method_options
from models.learning.photos import prepare_photos
from models.learning.textual_inversion import TextualInversion
from models.learning.training import JobReporter, Schedule, train
from models.learning.training_checkpoints import all_finite
from models.learning.training_run import TrainingRun, TrainingStudio, identity_digest
from models.weights import catalog


def run_training_job(studio: TrainingStudio, training_job: TrainingJob, reporter: JobReporter) -> TrainingResult:
    """Train a copy of the studio's model on the job's photos, or score its `concept`; the studio does not change.

    Resumes from a checkpoint in the job's workdir. Raises UnusablePhotos, UnsupportedTraining (not SD 1.x or 2.x, or
    an option of another method), TrainingDiverged, a WeightsError of the concept or of DINO, and whatever
    `reporter.progress` raises.
    """
    start = time.perf_counter()
    if hasattr(studio.generator.pipeline, "text_encoder_2"):
        detail = (
            "the model has two text encoders, and training supports only Stable Diffusion 1.x and 2.x; choose such "
            "weights with CREATIVES_STUDIO__DIFFUSION"
        )
        raise UnsupportedTraining(detail=detail)
    options = method_options(training_job, studio.training)
    run = TrainingRun(studio, training_job, reporter, options, _dino_embedder(studio))
    photos = prepare_photos(training_job.photos, studio.generator.size)
    concept = training_job.concept or train_concept(run, photos.pixels)
    scores = score_concept(run, concept, photos.pixels)
    scores |= {f"{name}_before": score for name, score in score_concept(run, None, photos.pixels).items()}
    scores["photos_refused"] = float(len(photos.refused))
    if isinstance(options, dreambooth.Options):
        scores["prior_preserved"] = float(options.prior_loss_weight > 0)
    pictures = sample_pictures(run, concept)
    return TrainingResult(
        request_id=training_job.request_id,
        path=concept.path,
        sha256=concept.sha256,
        steps=_recorded_steps(concept),
        scores=scores,
        pictures=pictures,
        device_seconds=time.perf_counter() - start,
    )


def train_concept(run: TrainingRun, photos: Tensor) -> Concept:
    """Train, and write the concept and `losses.json` into the workdir. photos: pixels (N,3,S,S) in [0,1].

    Raises TrainingDiverged.
    """
    report = partial(run.reporter.progress, "load")
    learner = _make_learner(run, encode_latents(run.studio.generator.pipeline, photos, report))
    schedule = Schedule(
        run.options.steps,
        run.options.learning_rate,
        run.training_job.seed,
        _identity(run, photos),
        checkpoint_every=run.training_job.checkpoint_every,
        checkpoint_seconds=run.training_job.checkpoint_seconds,
        early_stopping=run.options.early_stopping,
    )
    folder = Path(run.training_job.workdir)
    history = train(learner, schedule, folder, run.reporter)
    tensors = learner.concept_tensors()
    if not all_finite(tensors.values()):
        detail = "a weight is too large for the concept's file; lower the learning rate"
        raise TrainingDiverged(when=f"after {history.steps} steps", detail=detail)
    (folder / "losses.json").write_text(json.dumps([round(loss, 6) for loss in history.losses]))
    report = partial(_report_end, run, history.steps)
    return write_concept(tensors, run.training_job, history.steps, folder, report)


def _report_end(run: TrainingRun, steps: int, _bytes: int, _total: int) -> None:
    run.reporter.progress("train", steps, run.options.steps)


def _make_learner(run: TrainingRun, latents: Tensor) -> DreamBooth | TextualInversion:
    pipeline, job, options = run.studio.generator.pipeline, run.training_job, run.options
    if isinstance(options, textual_inversion.Options):
        words = (job.placeholder_token, job.class_noun)
        return textual_inversion.make_learner(pipeline, latents, words, options)
    class_latents = None
    if options.prior_loss_weight > 0:
        report = partial(run.reporter.progress, "load")
        class_latents = encode_latents(pipeline, class_images(run, options.class_images), report)
    words = (run.subject(), job.class_noun)
    return dreambooth.make_learner(pipeline, (latents, class_latents), words, options, job.seed)


def _identity(run: TrainingRun, photos: Tensor) -> str:
    """Return a digest of everything that decides the weights, except the schedule.

    With it, a job does not resume another job's checkpoint if they share a workdir by mistake.
    """
    job = run.training_job
    words = (job.method, job.placeholder_token, job.class_noun)
    photo_digest = hashlib.sha256(photos.numpy().tobytes()).hexdigest()
    return identity_digest([run.studio.recipe.fingerprint, *words, photo_digest, asdict(run.options), CLASS_GUIDANCE])


def _recorded_steps(concept: Concept) -> int:
    """Return the number of training steps that the concept file records."""
    with safe_open(concept.path, framework="pt") as file:
        return int((file.metadata() or {}).get("steps", 0))


def _dino_embedder(studio: TrainingStudio) -> DinoEmbedder | None:
    if studio.plan.dino is None:
        return None
    return DinoEmbedder.load(catalog.resolve("dino", studio.plan.dino), studio.device)
