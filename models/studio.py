"""The studio turns a brief into finished pictures.

generate -> rerank -> score -> select -> upscale -> finish -> encode. `score` runs if the studio has scorers, `finish`
if it has finishers.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import images
from models.briefs import Brief, Candidate, Format, Picture, Rendering, StudioPlan, StudioRecipe
from models.compilation import report_compilation
from models.errors import CreativesError, NonFiniteOutput
from models.networks import Networks
from models.precision import finite_rows
from models.rendering import provenance, selection
from models.rendering.concept_shelf import ConceptShelf
from models.stages import StageCallback, ignore_stages, stage, time_stages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnBrief:
    """A brief after the device, before encoding.

    kept: the kept candidates with their pictures, uint8 (H,W,3), format by format, best first.
    device_seconds: wall time that `Studio.draw` took. stage_seconds: of each stage.
    """

    brief: Brief
    kept: tuple[tuple[Candidate, NDArray[np.uint8]], ...]
    candidates: tuple[Candidate, ...]
    device_seconds: float
    stage_seconds: dict[str, float]


class Studio:
    """The networks of one recipe on one device."""

    def __init__(self, plan: StudioPlan, recipe: StudioRecipe, networks: Networks, device: torch.device) -> None:
        self.plan, self.recipe, self.device = plan, recipe, device
        self.generator, self.reranker = networks.generator, networks.reranker
        self.upscaler, self.encoder = networks.upscaler, networks.encoder
        self.scorers, self.finishers = networks.scorers, networks.finishers
        self.negative_prompt, self.training = networks.negative_prompt, networks.training
        self._full_precision = networks.full_precision
        self.vocabulary = networks.vocabulary
        self.shelf = ConceptShelf(plan.concepts, networks.full_precision)

    def warm_up(self) -> None:
        """Draw one full bucket and enlarge one picture. This chooses kernels and shows a lack of memory at startup.

        Does nothing on a CPU unless the plan compiles. Raises OutOfDeviceMemory, StageFailed.
        """
        if self.device.type != "cpu" or self.plan.compile:
            self.draw(Brief("warm", "warm", "", tuple(range(self.plan.bucket)), 1))

    def render(
        self, briefs: Sequence[Brief], progress: StageCallback = ignore_stages
    ) -> list[Rendering | CreativesError]:
        """Return a rendering or a named error per brief, in the briefs' order; no brief's failure affects another."""
        return [self._render(brief, progress) for brief in briefs]

    def _render(self, brief: Brief, progress: StageCallback) -> Rendering | CreativesError:
        try:
            return self.encode(self.draw(brief, progress), progress)
        except CreativesError as error:
            return error

    def draw(self, brief: Brief, progress: StageCallback = ignore_stages) -> DrawnBrief:
        """Do the work on the device: generate and score candidates, keep the best per format, enlarge and finish them.

        A candidate whose picture or scores are not finite numbers is left out of the result.
        progress may raise to end the brief. Raises StageFailed, OutOfDeviceMemory, NonFiniteOutput if no candidate is
        left, and what progress raises.
        """
        start, seconds = time.perf_counter(), time_stages()
        kept: list[tuple[Candidate, NDArray[np.uint8]]] = []
        candidates: list[Candidate] = []
        for picture_format in brief.formats:
            pixels, scored = self._generate(brief, picture_format, progress)
            ranked = selection.rank_candidates(scored, brief.keep)
            chosen = selection.kept_candidates(ranked)
            finished: dict[int, Candidate] = {}
            for place, candidate in enumerate(chosen):
                small, position = pixels[candidate.index : candidate.index + 1], (place, len(chosen))
                # No name holds the large picture, so its device memory is free before the next one is enlarged.
                done = self._finish(self._upscale(small, position, progress), brief, candidate, position, progress)
                finished[candidate.index] = done[0]
                kept.append(done)
            candidates += [finished.get(candidate.index, candidate) for candidate in ranked]
        return DrawnBrief(brief, tuple(kept), tuple(candidates), time.perf_counter() - start, seconds)

    def encode(self, drawn: DrawnBrief, progress: StageCallback = ignore_stages) -> Rendering:
        """Encode the files. This does not use the device, so it may run beside the next brief. Raises StageFailed."""
        pictures, seconds = [], time_stages()
        for done, (candidate, picture) in enumerate(drawn.kept, start=1):
            with stage("encode"):
                pictures.append(self._encode(drawn.brief, candidate, picture))
            progress("encode", done, len(drawn.kept))
        seconds = drawn.stage_seconds | seconds
        return Rendering(drawn.brief.request_id, tuple(pictures), drawn.candidates, drawn.device_seconds, seconds)

    def full_precision_pipeline(self) -> Any:
        """Return the pipeline to train on: the file's own weights in float32. Raises a WeightsError."""
        return self.generator.pipeline if self._full_precision is None else self._full_precision.pipeline()

    @contextlib.contextmanager
    def apply_concept(self, brief: Brief, progress: StageCallback = ignore_stages) -> Iterator[str]:
        """Put the brief's concept into the model for the block; yield the prompt for the generator.

        Reports progress while it reads the concept and while torch.compile compiles in the block.
        """
        concepts = () if brief.concept is None else (brief.concept,)
        report = partial(progress, "load")
        with self.shelf.apply(self.generator.pipeline, concepts, report), contextlib.ExitStack() as stack:
            if self.plan.compile:
                stack.enter_context(report_compilation(partial(report, 0, 1)))
            # The pipeline itself expands a placeholder of several vectors to all its tokens.
            yield brief.prompt

    def _generate(
        self, brief: Brief, picture_format: Format, progress: StageCallback
    ) -> tuple[torch.Tensor, list[Candidate]]:
        """Return pixels (N,3,H,W) in [0,1], one per seed, and the scored candidates whose values are finite numbers."""
        with stage("generate"), self.apply_concept(brief, progress) as prompt:
            pixels = self.generator.generate(
                prompt,
                brief.negative_prompt,
                brief.seeds,
                picture_format,
                lambda done, total: progress("generate", done, total),
            )
        rows = finite_rows(pixels).nonzero().flatten().tolist()
        scores = self._score(pixels if len(rows) == len(pixels) else pixels[rows], brief, progress)
        finite = [
            (row, score) for row, score in zip(rows, scores, strict=True) if all(map(math.isfinite, score.values()))
        ]
        if not finite:
            raise NonFiniteOutput(network="scorers", precision="float32", advice="Choose other weights")
        if len(finite) < len(brief.seeds):
            lost = len(brief.seeds) - len(finite)
            log.warning("Request %s lost %d candidates whose values are not finite numbers.", brief.request_id, lost)
        return pixels, [Candidate(picture_format, row, brief.seeds[row], score) for row, score in finite]

    def _score(self, pixels: torch.Tensor, brief: Brief, progress: StageCallback) -> list[dict[str, float]]:
        """Return the reranker's scores of each candidate, then the scorers' in their order."""
        # CLIP was not trained on the product, so it reads the class noun in place of the placeholder.
        prompt = brief.prompt if brief.concept is None else brief.concept.replace_placeholder(brief.prompt)
        with stage("rerank"):
            scores = self.reranker.score(pixels, prompt)
        progress("rerank", len(scores), len(scores))
        for done, scorer in enumerate(self.scorers, start=1):
            with stage("score"):
                added = scorer.score(pixels, brief)
                scores = [before | more for before, more in zip(scores, added, strict=True)]
            progress("score", done, len(self.scorers))
        return scores

    def _upscale(self, pixels: torch.Tensor, position: tuple[int, int], progress: StageCallback) -> torch.Tensor:
        """Return the enlarged picture (1,3,sH,sW). position: pictures before this one, total."""
        before, pictures = position
        with stage("upscale"):
            return self.upscaler.upscale(
                pixels, lambda done, total: progress("upscale", before * total + done, pictures * total)
            )

    def _finish(
        self,
        pixels: torch.Tensor,
        brief: Brief,
        candidate: Candidate,
        position: tuple[int, int],
        progress: StageCallback,
    ) -> tuple[Candidate, NDArray[np.uint8]]:
        """Return the candidate with the finishers' figures, and its picture (1,3,H,W) as uint8 (H,W,3)."""
        before, pictures = position
        total = len(self.finishers)
        for done, finisher in enumerate(self.finishers, start=1):
            with stage("finish"):
                pixels, figures = finisher.finish(pixels, brief, candidate)
                candidate = replace(candidate, scores=candidate.scores | figures)
            progress("finish", before * total + done, pictures * total)
        if self.finishers and not pixels.isfinite().all():
            raise NonFiniteOutput(network="finishers", precision="float32", advice="Choose other weights")
        with stage("finish" if self.finishers else "upscale"):  # the copy waits for the kernels of the last stage
            return candidate, images.pixels_to_bytes(pixels)[0]

    def _encode(self, brief: Brief, candidate: Candidate, picture: NDArray[np.uint8]) -> Picture:
        model = next((f"{used.id} {used.revision}" for used in self.recipe.models if used.role == "diffusion"), "")
        origin = provenance.Origin(
            request_id=brief.request_id,
            prompt=brief.prompt,
            negative_prompt=brief.negative_prompt,
            seed=candidate.seed,
            system=model,
            recipe=self.recipe.fingerprint,
        )
        file = self.encoder(picture, origin)
        return Picture(
            rank=candidate.rank or 0,
            format=candidate.format,
            seed=candidate.seed,
            width=file.width,
            height=file.height,
            media_type=file.media_type,
            content=file.content,
            scores=candidate.scores,
        )
