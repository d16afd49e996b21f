"""Scores and sample pictures of a concept, or of the base model for comparison."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from models.briefs import Concept, Picture
from models.learning import fidelity
from models.learning.dreambooth import class_prompt
from models.learning.training_run import TrainingRun, seeds_for

SCENES = ("a photo of a {}", "a photo of a {} on a table")
PICTURES_PER_SCENE = 4
CLASS_PICTURES = 8
SAMPLES = 4


def score_concept(run: TrainingRun, concept: Concept | None, photos: Tensor) -> dict[str, float]:
    """Return the scores of a concept, or of the base model for None; `models.briefs.TrainingResult` describes them.

    photos: pixels (N,3,S,S) in [0,1]. The score covers as many pictures of the class as of the product.
    """
    noun, embedder = run.training_job.class_noun, run.studio.reranker
    word = run.subject() if concept else noun
    scenes = [
        run.generate(scene.format(word), seeds_for("scene", scene, PICTURES_PER_SCENE), concept) for scene in SCENES
    ]
    pictures = torch.cat(scenes)
    prompts = [scene.format(noun) for scene in SCENES for _ in range(PICTURES_PER_SCENE)]
    class_pictures = run.generate(class_prompt(noun), seeds_for("others", noun, CLASS_PICTURES), concept)
    crop = partial(fidelity.crop_subjects, report=partial(run.reporter.progress, "evaluate"))
    product, real, members = (crop(pixels) for pixels in (pictures, photos, class_pictures))
    scores = {
        "fidelity": fidelity.subject_fidelity(embedder, product, real),
        "prompt": fidelity.prompt_fidelity(embedder, pictures, prompts),
        "prior": fidelity.prior_confusion(embedder, members, real),
        "prior_diversity": fidelity.diversity(embedder, [members]),
        "diversity": fidelity.diversity(embedder, scenes),
    }
    if run.dino is not None:
        scores["fidelity_dino"] = fidelity.subject_fidelity(run.dino, product, real)
    return scores


def sample_pictures(run: TrainingRun, concept: Concept) -> tuple[Picture, ...]:
    """Return finished pictures of the product: the best of SAMPLES candidates."""
    brief = run.brief(SCENES[0].format(run.subject()), seeds_for("scene", SCENES[0], SAMPLES), concept)
    drawn = run.studio.draw(brief, lambda _, done, total: run.reporter.progress("evaluate", done, total))
    pictures: tuple[Picture, ...] = run.studio.encode(drawn).pictures
    return pictures
