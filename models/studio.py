"""The studio: a brief becomes finished pictures. generate -> rerank -> upscale the best -> encode.

The Protocols say what a studio needs of its networks; tests bring small second implementations of them.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models import images
from models.briefs import Brief, Candidate, Format, Picture, Rendering, Stage, StudioPlan, StudioRecipe
from models.errors import CreativesError, OutOfDeviceMemory, StageFailed
from models.images import Encoded
from models.rendering import provenance
from models.rendering.concept_shelf import ConceptShelf

Steps = Callable[[int, int], None]
Progress = Callable[[Stage, int, int], None]


class Generator(Protocol):
    """Makes candidates."""

    pipeline: Any

    def generate(
        self, prompt: str, negative_prompt: str, seeds: tuple[int, ...], form: Format = ..., report: Steps = ...
    ) -> torch.Tensor:
        """Return pixels (len(seeds),3,H,W) in [0,1], one picture per seed, each independent of the others."""
        ...


class Reranker(Protocol):
    """Says how well a candidate fits the prompt."""

    def score(self, pixels: torch.Tensor, prompt: str) -> list[dict[str, float]]:
        """Return the scores of each picture of pixels (N,3,H,W) in [0,1]; `clip` decides the order."""
        ...


class Upscaler(Protocol):
    """Enlarges a picture."""

    scale: int

    def upscale(self, pixels: torch.Tensor, report: Steps = ...) -> torch.Tensor:
        """Return pixels (1,3,scale*H,scale*W) in [0,1] of pixels (1,3,H,W) in [0,1]."""
        ...


class Encoder(Protocol):
    """Makes a file of a picture."""

    def __call__(self, bytes_hwc: NDArray[np.uint8], origin: provenance.Origin) -> Encoded:
        """Return the file of uint8 (H,W,3), with its origin inside. Same input, same bytes."""
        ...


@dataclass(frozen=True)
class Networks:
    """The parts of a studio. negative_prompt, training: the diffusion family's own defaults, see `families.Family`."""

    generator: Generator
    reranker: Reranker
    upscaler: Upscaler
    encoder: Encoder
    negative_prompt: str = ""
    training: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A brief between the device and its files: what is kept, as uint8 (H,W,3) with its candidate, best first."""

    brief: Brief
    kept: tuple[tuple[Candidate, NDArray[np.uint8]], ...]
    candidates: tuple[Candidate, ...]
    device_seconds: float


def nothing(_stage: Stage, _done: int, _total: int) -> None:
    """Report to nobody."""


class Studio:
    """The networks of one recipe on one device."""

    def __init__(self, plan: StudioPlan, recipe: StudioRecipe, networks: Networks, device: torch.device) -> None:
        self.plan, self.recipe, self.device = plan, recipe, device
        self.generator, self.reranker = networks.generator, networks.reranker
        self.upscaler, self.encoder = networks.upscaler, networks.encoder
        self.negative_prompt, self.training = networks.negative_prompt, networks.training
        self.shelf = ConceptShelf(plan.concepts)

    def warm(self) -> None:
        """Fill one whole bucket and enlarge one picture, so that kernels are chosen and memory is known to suffice.

        On the CPU, uncompiled, there is nothing to warm. Raises OutOfDeviceMemory, StageFailed.
        """
        if self.device.type != "cpu" or self.plan.compile:
            self.draw(Brief("warm", "warm", "", tuple(range(self.plan.bucket)), 1))

    def render(self, briefs: Sequence[Brief], progress: Progress = nothing) -> list[Rendering | Exception]:
        """Return one rendering, or one named error, per brief in its order; no brief can spoil another."""
        return [self._render(brief, progress) for brief in briefs]

    def _render(self, brief: Brief, progress: Progress) -> Rendering | Exception:
        try:
            return self.finish(self.draw(brief, progress), progress)
        except CreativesError as error:
            return error

    def draw(self, brief: Brief, progress: Progress = nothing) -> Drawn:
        """Do what needs the device: generate and score every candidate, keep the best of each format, enlarge them.

        progress may raise to give the brief up. Raises StageFailed, OutOfDeviceMemory, and what progress raises.
        """
        start = time.perf_counter()
        kept: list[tuple[Candidate, NDArray[np.uint8]]] = []
        candidates: list[Candidate] = []
        for form in brief.formats:
            pixels, scored = self._generate(brief, form, progress)
            chosen = _best(scored, brief.keep)
            ranks = {index: len(kept) + place for place, index in enumerate(chosen, start=1)}
            scored = [replace(candidate, rank=ranks.get(candidate.index)) for candidate in scored]
            for place, index in enumerate(chosen, start=1):
                large = self._upscale(pixels[index : index + 1], (place - 1, len(chosen)), progress)
                kept.append((scored[index], large))
            candidates += scored
        return Drawn(brief, tuple(kept), tuple(candidates), time.perf_counter() - start)

    def finish(self, drawn: Drawn, progress: Progress = nothing) -> Rendering:
        """Make the files; needs no device, so it may run in a thread beside the next brief. Raises StageFailed."""
        pictures = []
        for done, (candidate, picture) in enumerate(drawn.kept, start=1):
            with stage("encode"):
                pictures.append(self._encode(drawn.brief, candidate, picture))
            progress("encode", done, len(drawn.kept))
        return Rendering(drawn.brief.request_id, tuple(pictures), drawn.candidates, drawn.device_seconds)

    def _generate(self, brief: Brief, form: Format, progress: Progress) -> tuple[torch.Tensor, list[Candidate]]:
        with stage("generate"), self.applied(brief) as prompt:
            pixels = self.generator.generate(
                prompt, brief.negative_prompt, brief.seeds, form, lambda done, total: progress("generate", done, total)
            )
        read_by_clip = brief.prompt if brief.concept is None else brief.concept.in_plain_words(brief.prompt)
        with stage("rerank"):
            scores = self.reranker.score(pixels, read_by_clip)
        progress("rerank", len(scores), len(scores))
        seeds = enumerate(zip(brief.seeds, scores, strict=True))
        return pixels, [Candidate(form, index, seed, score, None) for index, (seed, score) in seeds]

    def _upscale(self, pixels: torch.Tensor, position: tuple[int, int], progress: Progress) -> NDArray[np.uint8]:
        before, pictures = position
        with stage("upscale"):
            large = self.upscaler.upscale(
                pixels, lambda done, total: progress("upscale", before * total + done, pictures * total)
            )
            return images.bytes_of(large)[0]

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

    @contextlib.contextmanager
    def applied(self, brief: Brief) -> Iterator[str]:
        """Put the brief's concept into the model for the time of the block; yields the prompt as the model reads it."""
        with self.shelf.applied(self.generator.pipeline, () if brief.concept is None else (brief.concept,)):
            # The pipeline itself writes a placeholder of several vectors as all its tokens.
            yield brief.prompt


@contextlib.contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Name the stage in which something fails.

    This is the border of the device process: what comes out of the libraries may not pickle and must not end the
    process, so whatever it is becomes a named error here. Our own errors (a given-up job too) pass as they are.
    A CUDA error (illegal access, ECC, a lost device) stays with the process for ever: it raises SystemExit, so that the
    process ends and another one, with a context of its own, does the work.
    """
    try:
        yield
    except CreativesError:
        raise
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfDeviceMemory(stage=name, detail=_first_line(error)) from error
    except Exception as error:
        if _sticky(error) and name != "load":  # a process that cannot load ends anyway, and then with its reason
            traceback.print_exc()
            raise SystemExit(f"The device is lost in {name}: {_first_line(error)}") from error
        raise StageFailed(stage=name, kind=type(error).__name__, detail=_first_line(error)) from error


def _best(candidates: list[Candidate], keep: int) -> list[int]:
    """Return the indices of the best by `clip`, best first; of equals the earlier one."""
    order = sorted(candidates, key=lambda candidate: (-candidate.scores["clip"], candidate.index))
    return [candidate.index for candidate in order[:keep]]


def _sticky(error: Exception) -> bool:
    """Whether every later call of this process on the device fails too."""
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]
