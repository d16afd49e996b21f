"""A lesson: photos in, a concept out. prepare -> make class images -> train -> write -> draw samples and score them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from models.briefs import Brief, Concept, Picture, Stage, StudioPlan, TrainingJob, TrainingResult, subject
from models.errors import TrainingDiverged, UnsupportedTraining
from models.learning import dreambooth, fidelity, photos, textual_inversion
from models.learning.concept_file import write_concept
from models.learning.denoiser import latents_of
from models.learning.dino import DinoEmbedder
from models.learning.dreambooth import DreamBooth
from models.learning.textual_inversion import TextualInversion
from models.learning.training import Report, Schedule, batches, finite, generator_for, train
from models.weights import catalog
from models.weights.tensor_file import write_tensors

SAMPLES = 4
SHOWN = 2
SCENES = ("a photo of a {}", "a photo of a {} on a table")
PER_SCENE = 4
OTHERS = 8
PRIOR = "unguided"  # how class images are drawn; lessons and caches of another way are other ones
DEFAULTS: dict[str, dreambooth.Options | textual_inversion.Options] = {
    "textual_inversion": textual_inversion.Options(),
    "dreambooth": dreambooth.Options(),
    "dreambooth_lora": dreambooth.Options(learning_rate=1e-4, rank=4),
}
# Fields of the shared options that would be ignored, or make another method of this one.
FOREIGN: dict[str, tuple[str, ...]] = {
    "textual_inversion": ("train_text_encoder", "rank"),
    "dreambooth": ("rank", "vectors"),
    "dreambooth_lora": ("train_text_encoder", "vectors"),
}

Options = dreambooth.Options | textual_inversion.Options


class TrainingStudio(Protocol):
    """What a lesson needs of the studio; see `models.studio.Studio`."""

    plan: StudioPlan
    device: torch.device
    generator: Any
    reranker: Any
    recipe: Any
    negative_prompt: str
    training: Mapping[str, Mapping[str, float]]

    def applied(self, brief: Brief) -> Any: ...
    def draw(self, brief: Brief, progress: Any) -> Any: ...
    def encode(self, drawn: Any) -> Any: ...


def learn(studio: TrainingStudio, training_job: TrainingJob, report: Report) -> TrainingResult:
    """Teach a copy of the studio's model the lesson's product, or score its `concept`; the studio stays as it is.

    Goes on from a checkpoint in `lesson.workdir`. Raises UnusablePhotos, CannotBeTaught (no SD 1.x or 2.x, or options
    of another method), TrainingDiverged, a WeightsError of the concept or of DINO, and what `report.progress` raises.
    """
    start = time.perf_counter()
    if hasattr(studio.generator.pipeline, "text_encoder_2"):
        detail = "the model has two text encoders; products are learned with Stable Diffusion 1.x and 2.x"
        raise UnsupportedTraining(detail=detail)
    teaching = TrainingRun(studio, training_job, report, options_of(training_job, studio.training), _dino(studio))
    prepared = photos.prepare(training_job.photos, studio.generator.size)
    concept = training_job.concept or teaching.train(prepared.pixels)
    scores = teaching.evaluate(concept, prepared.pixels)
    scores |= {f"{name}_before": score for name, score in teaching.evaluate(None, prepared.pixels).items()}
    scores |= {"photos_refused": float(len(prepared.refused)), **teaching.prior_preserved()}
    pictures = teaching.samples(concept)
    seconds = time.perf_counter() - start
    return TrainingResult(
        training_job.request_id, concept.path, concept.sha256, _steps_of(concept), scores, pictures, seconds
    )


def options_of(training_job: TrainingJob, family: Mapping[str, Mapping[str, float]]) -> Options:
    """Return the method's options: the lesson's own where it states them, else the family's, else the paper's.

    Raises CannotBeTaught where the lesson states an option that its method does not have.
    """
    for name in FOREIGN[training_job.method]:
        if getattr(training_job, name):
            raise UnsupportedTraining(detail=f"{training_job.method} has no {name}")
    options = DEFAULTS[training_job.method]
    stated = {option.name: getattr(training_job, option.name) for option in fields(options)}
    chosen = {name: value for name, value in stated.items() if value is not None}
    return replace(options, **{**family.get(training_job.method, {}), **chosen})


@dataclass(frozen=True)
class TrainingRun:
    """One lesson in one studio. dino: a second embedder for subject fidelity."""

    studio: TrainingStudio
    training_job: TrainingJob
    report: Report
    options: Options
    dino: fidelity.ImageEmbedder | None = None

    def train(self, pixels: Tensor) -> Concept:
        """Return the written concept. pixels: the prepared photos (N,3,S,S). Raises TrainingDiverged."""
        learner = self._learner(latents_of(self.studio.generator.pipeline, pixels))
        schedule = Schedule(
            self.options.steps,
            self.options.learning_rate,
            self.training_job.seed,
            self._identity(pixels),
            checkpoint_every=self.training_job.checkpoint_every,
            checkpoint_seconds=self.training_job.checkpoint_seconds,
            early_stopping=self.options.early_stopping,
        )
        folder = Path(self.training_job.workdir)
        course = train(learner, schedule, folder, self.report)
        artefact = learner.artefact()
        if not finite(artefact.values()):
            detail = "a weight is too large for the concept's file: lower the learning rate"
            raise TrainingDiverged(when=f"after {course.steps} steps", detail=detail)
        (folder / "losses.json").write_text(json.dumps([round(loss, 6) for loss in course.losses]))
        return write_concept(artefact, self.training_job, course.steps, folder)

    def evaluate(self, concept: Concept | None, pixels: Tensor) -> dict[str, float]:
        """Return the scores of a concept, or of the untaught model for None; see `Learned`.

        As many pictures of the product as of its class; a scene's fit into one bucket of the usual size.
        """
        noun, embedder = self.training_job.class_noun, self.studio.reranker
        word = subject(self.training_job.placeholder_token, noun, self.training_job.method) if concept else noun
        drawn = [self.draw(scene.format(word), seeds_for("scene", scene, PER_SCENE), concept) for scene in SCENES]
        shown, prompts = torch.cat(drawn), [scene.format(noun) for scene in SCENES for _ in range(PER_SCENE)]
        others = self.draw(dreambooth.class_prompt(noun), seeds_for("others", noun, OTHERS), concept)
        product, photographed, members = (fidelity.subjects(pictures) for pictures in (shown, pixels, others))
        scores = {
            "fidelity": fidelity.subject_fidelity(embedder, product, photographed),
            "prompt": fidelity.prompt_fidelity(embedder, shown, prompts),
            "prior": fidelity.prior_confusion(embedder, members, photographed),
            "prior_diversity": fidelity.diversity(embedder, [members]),
            "diversity": fidelity.diversity(embedder, drawn),
        }
        if self.dino is not None:
            scores["fidelity_dino"] = fidelity.subject_fidelity(self.dino, product, photographed)
        return scores

    def prior_preserved(self) -> dict[str, float]:
        """Return whether class images held the prior, as a score; nothing for a method that leaves it alone."""
        if isinstance(self.options, textual_inversion.Options):
            return {}
        return {"prior_preserved": float(self.options.prior_loss_weight > 0)}

    def samples(self, concept: Concept) -> tuple[Picture, ...]:
        """Return finished pictures that show the product."""
        word = subject(self.training_job.placeholder_token, self.training_job.class_noun, self.training_job.method)
        seeds = seeds_for("scene", SCENES[0], SAMPLES)
        brief = self._brief(SCENES[0].format(word), seeds, concept)
        drawn = self.studio.draw(brief, lambda _, done, total: self.report.progress("evaluate", done, total))
        pictures: tuple[Picture, ...] = self.studio.encode(drawn).pictures
        return pictures

    def draw(self, prompt: str, seeds: tuple[int, ...], concept: Concept | None) -> Tensor:
        """Return pixels (len(seeds),3,S,S) on the CPU."""
        return self._drawn(self.studio.generator, self._brief(prompt, seeds, concept), "evaluate")

    def _drawn(self, generator: Any, brief: Brief, stage: Stage) -> Tensor:
        with self.studio.applied(brief) as worded:
            pixels: Tensor = generator.generate(
                worded,
                brief.negative_prompt,
                brief.seeds,
                report=lambda done, total: self.report.progress(stage, done, total),
            )
        return pixels.clone().cpu()

    def _brief(self, prompt: str, seeds: tuple[int, ...], concept: Concept | None) -> Brief:
        return Brief(self.training_job.request_id, prompt, self.studio.negative_prompt, seeds, SHOWN, concept=concept)

    def _learner(self, latents: Tensor) -> DreamBooth | TextualInversion:
        pipeline, noun, token = (
            self.studio.generator.pipeline,
            self.training_job.class_noun,
            self.training_job.placeholder_token,
        )
        if isinstance(self.options, textual_inversion.Options):
            return textual_inversion.prepare(pipeline, latents, (token, noun), self.options)
        words = (subject(token, noun, self.training_job.method), noun)
        classes = None
        if self.options.prior_loss_weight > 0:
            classes = latents_of(pipeline, self._class_images(self.options.class_images))
        return dreambooth.prepare(pipeline, (latents, classes), words, self.options, self.training_job.seed)

    def _class_images(self, count: int) -> Tensor:
        """Return (count,3,S,S): the model's own idea of the class noun, made once per noun and recipe and kept.

        Without guidance, which narrows what is drawn, so that learning it would narrow the class: of its own unguided
        pictures the untaught model has nothing to learn. Each bucket is kept as it is made, so an interruption costs
        one of them.
        """
        noun = self.training_job.class_noun
        name = _digest([self.studio.recipe.fingerprint, noun, count, PRIOR])[:32]
        folder = Path(self.training_job.class_cache or self.training_job.workdir) / f"class-{name}"
        seeds, made = seeds_for("class", noun, count), []
        unguided = self.studio.generator.unguided()
        for part in batches(count, self.studio.plan.bucket):
            path = folder / f"{part.start:05d}.safetensors"
            kept = _kept_pixels(path)
            if kept is None:
                self.report.progress("prior", part.start, count)
                brief = self._brief(dreambooth.class_prompt(noun), tuple(seeds[index] for index in part), None)
                drawn = self._drawn(unguided, brief, "prior")
                kept = drawn.mul(255).round().to(torch.uint8)
                write_tensors({"pixels": kept}, path, {"class_noun": noun})
            made.append(kept)
        return torch.cat(made).float() / 255

    def _identity(self, pixels: Tensor) -> str:
        """Name everything that decides the weights but the schedule: two lessons may share a folder by mistake."""
        photographed = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
        words = (self.training_job.method, self.training_job.placeholder_token, self.training_job.class_noun)
        return _digest([self.studio.recipe.fingerprint, *words, photographed, asdict(self.options), PRIOR])


def seeds_for(purpose: str, text: str, count: int) -> tuple[int, ...]:
    """Return seeds that depend on nothing but their purpose: before and after a lesson the same noise is drawn."""
    return tuple(generator_for(0, purpose, text, number).initial_seed() for number in range(count))


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _kept_pixels(path: Path) -> Tensor | None:
    with suppress(FileNotFoundError, SafetensorError):
        return load_file(path)["pixels"]
    return None


def _steps_of(concept: Concept) -> int:
    with safe_open(concept.path, framework="pt") as file:
        return int((file.metadata() or {}).get("steps", 0))


def _dino(studio: TrainingStudio) -> DinoEmbedder | None:
    if studio.plan.dino is None:
        return None
    return DinoEmbedder.load(catalog.resolve("dino", studio.plan.dino), studio.device)
