"""A lesson: photos in, a concept out. prepare -> make class images -> train -> write -> draw samples and score them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models import concepts, dreambooth, fidelity, photos, textual_inversion
from models.briefs import Brief, Concept, Learned, Lesson, Picture, Stage, subject
from models.denoiser import latents_of
from models.dreambooth import DreamBooth
from models.errors import StageFailed, WrongArchitecture
from models.textual_inversion import TextualInversion
from models.training import Report, Schedule, batches, generator_for, train, write_tensors

SAMPLES = 4
SHOWN = 2
SCENES = ("a photo of a {}", "a photo of a {} on a table")
DEFAULTS: dict[str, dreambooth.Options | textual_inversion.Options] = {
    "textual_inversion": textual_inversion.Options(),
    "dreambooth": dreambooth.Options(),
    "dreambooth_lora": dreambooth.Options(learning_rate=1e-4, rank=4),
}

Options = dreambooth.Options | textual_inversion.Options


class Classroom(Protocol):
    """What a lesson needs of the studio; see `models.studio.Studio`."""

    generator: Any
    reranker: Any
    recipe: Any
    negative_prompt: str
    training: Mapping[str, Mapping[str, float]]

    def applied(self, brief: Brief) -> Any: ...
    def draw(self, brief: Brief, progress: Any) -> Any: ...
    def finish(self, drawn: Any) -> Any: ...


def learn(studio: Classroom, lesson: Lesson, report: Report) -> Learned:
    """Teach a copy of the studio's model the lesson's product; the studio itself stays as it is.

    Goes on from a checkpoint in `lesson.workdir`. Raises UnusablePhotos, WrongArchitecture (no SD 1.x or 2.x),
    StageFailed (the loss is no number any more), and what `report.progress` raises.
    """
    start = time.perf_counter()
    if hasattr(studio.generator.pipeline, "text_encoder_2"):
        detail = "it has two text encoders; products are learned with Stable Diffusion 1.x and 2.x"
        raise WrongArchitecture(path="the diffusion model", architecture="this lesson", detail=detail)
    teaching = Teaching(studio, lesson, report, options_of(lesson, studio.training))
    pixels = photos.prepare(lesson.photos, studio.generator.size).pixels
    concept, steps = teaching.train(pixels)
    untaught = teaching.evaluate(None, pixels)["fidelity"]
    scores = {**teaching.evaluate(concept, pixels), "fidelity_before": untaught}
    pictures = teaching.samples(concept)
    seconds = time.perf_counter() - start
    return Learned(lesson.request_id, concept.path, concept.sha256, steps, scores, pictures, seconds)


def options_of(lesson: Lesson, family: Mapping[str, Mapping[str, float]]) -> Options:
    """Return the method's options: the lesson's own where it states them, else the family's, else the paper's."""
    options = DEFAULTS[lesson.method]
    stated = {option.name: getattr(lesson, option.name, None) for option in fields(options)}
    chosen = {name: value for name, value in stated.items() if value is not None}
    return replace(options, **{**family.get(lesson.method, {}), **chosen})


@dataclass(frozen=True)
class Teaching:
    """One lesson in one studio."""

    studio: Classroom
    lesson: Lesson
    report: Report
    options: Options

    def train(self, pixels: Tensor) -> tuple[Concept, int]:
        """Return the written concept and the steps it took. pixels: the prepared photos (N,3,S,S)."""
        learner = self._learner(latents_of(self.studio.generator.pipeline, pixels))
        schedule = Schedule(
            self.options.steps,
            self.options.learning_rate,
            self.lesson.seed,
            self._identity(pixels),
            checkpoint_every=self.lesson.checkpoint_every,
            early_stopping=bool(self.lesson.early_stopping),
        )
        folder = Path(self.lesson.workdir)
        course = train(learner, schedule, folder, self.report)
        if course.losses and not math.isfinite(course.losses[-1]):
            detail = f"the loss is {course.losses[-1]} after {course.steps} steps: lower the learning rate"
            raise StageFailed(stage="learn", kind="divergence", detail=detail)
        if course.losses:
            (folder / "losses.json").write_text(json.dumps([round(loss, 6) for loss in course.losses]))
        return concepts.write(learner.artefact(), self.lesson, course.steps, folder), course.steps

    def evaluate(self, concept: Concept | None, pixels: Tensor) -> dict[str, float]:
        """Return CLIP-I `fidelity`, CLIP-T `prompt`, PRES `prior`, DIV `diversity`; of the untaught model for None."""
        noun, embedder = self.lesson.class_noun, self.studio.reranker
        word = subject(self.lesson.placeholder_token, noun, self.lesson.method) if concept else noun
        each = SAMPLES // len(SCENES)
        shown = torch.cat([self.draw(scene.format(word), seeds_for("scene", scene, each), concept) for scene in SCENES])
        others = self.draw(dreambooth.class_prompt(noun), seeds_for("others", noun, SAMPLES), concept)
        return {
            "fidelity": fidelity.subject_fidelity(embedder, shown, pixels),
            "prompt": fidelity.prompt_fidelity(embedder, shown, [s.format(noun) for s in SCENES for _ in range(each)]),
            "prior": fidelity.prior_confusion(embedder, others, pixels),
            "diversity": fidelity.diversity(embedder, others),
        }

    def samples(self, concept: Concept) -> tuple[Picture, ...]:
        """Return finished pictures that show the product."""
        word = subject(self.lesson.placeholder_token, self.lesson.class_noun, self.lesson.method)
        seeds = seeds_for("scene", SCENES[0], SAMPLES)
        brief = self._brief(SCENES[0].format(word), seeds, concept)
        drawn = self.studio.draw(brief, lambda _, done, total: self.report.progress("evaluate", done, total))
        pictures: tuple[Picture, ...] = self.studio.finish(drawn).pictures
        return pictures

    def draw(self, prompt: str, seeds: tuple[int, ...], concept: Concept | None, stage: Stage = "evaluate") -> Tensor:
        """Return pixels (len(seeds),3,S,S) on the CPU."""
        brief = self._brief(prompt, seeds, concept)
        with self.studio.applied(brief) as worded:
            pixels: Tensor = self.studio.generator.generate(
                worded,
                brief.negative_prompt,
                seeds,
                report=lambda done, total: self.report.progress(stage, done, total),
            )
        return pixels.clone().cpu()

    def _brief(self, prompt: str, seeds: tuple[int, ...], concept: Concept | None) -> Brief:
        return Brief(self.lesson.request_id, prompt, self.studio.negative_prompt, seeds, SHOWN, concept=concept)

    def _learner(self, latents: Tensor) -> DreamBooth | TextualInversion:
        pipeline, noun, token = self.studio.generator.pipeline, self.lesson.class_noun, self.lesson.placeholder_token
        if isinstance(self.options, textual_inversion.Options):
            return textual_inversion.prepare(pipeline, latents, (token, noun), self.options)
        words = (subject(token, noun, self.lesson.method), noun)
        classes = None
        if self.options.prior_loss_weight > 0:
            classes = latents_of(pipeline, self._class_images(self.options.class_images))
        return dreambooth.prepare(pipeline, (latents, classes), words, self.options, self.lesson.seed)

    def _class_images(self, count: int) -> Tensor:
        """Return (count,3,S,S): the model's own idea of the class noun, made once per noun and recipe and kept."""
        noun = self.lesson.class_noun
        name = _digest([self.studio.recipe.fingerprint, noun, count])[:32]
        path = Path(self.lesson.class_cache or self.lesson.workdir) / f"class-{name}.safetensors"
        with suppress(FileNotFoundError, SafetensorError):
            return load_file(path)["pixels"].float() / 255
        seeds, made = seeds_for("class", noun, count), []
        for part in batches(count, SAMPLES):
            self.report.progress("prior", part.start, count)
            drawn = self.draw(dreambooth.class_prompt(noun), tuple(seeds[index] for index in part), None, "prior")
            made.append(drawn.mul(255).round().to(torch.uint8))
        pixels = torch.cat(made)
        write_tensors({"pixels": pixels}, path, {"class_noun": noun})
        return pixels.float() / 255

    def _identity(self, pixels: Tensor) -> str:
        """Name everything that decides the weights but the schedule: two lessons may share a folder by mistake."""
        photographed = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
        words = (self.lesson.method, self.lesson.placeholder_token, self.lesson.class_noun)
        return _digest([self.studio.recipe.fingerprint, *words, photographed, asdict(self.options)])


def seeds_for(purpose: str, text: str, count: int) -> tuple[int, ...]:
    """Return seeds that depend on nothing but their purpose: before and after a lesson the same noise is drawn."""
    return tuple(generator_for(0, purpose, text, number).initial_seed() for number in range(count))


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
