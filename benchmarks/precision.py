"""What a narrower precision costs, network by network: `python -m benchmarks.precision`.

The networks of the demo family run on the CPU with each precision forced, on the same seeds and inputs as in float32.
The last rows show what is left of a small learned change that is rounded once, without a network.
With `--concept FILE` (a concept that `creatives train` wrote) the benchmark compares how well the concept resembles its
photos in each precision. Each row changes one network; all others stay in float32. `cuda` is the default on CUDA.

    python -m benchmarks.precision
    python -m benchmarks.precision --concept milk/concept.safetensors --photos docs/examples/products/milk
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from models.briefs import Concept, StudioPlan, TrainingJob
from models.learning.evaluation import score_concept
from models.learning.method_options import DEFAULTS
from models.learning.photos import prepare_photos
from models.learning.training_run import TrainingRun
from models.opening import open_studio
from models.photo_files import PhotoFile
from models.precision import Precisions, choose_precisions, dtype_name
from models.rendering.decoding import Decoder
from models.rendering.reranking import ClipReranker
from models.rendering.upscaling import SwinirUpscaler
from models.stages import ignore_steps
from models.studio import Studio
from models.weights import catalog
from models.weights.checkpoints import sha256_of

EXACT = Precisions(*[torch.float32] * 4)
NARROW = (torch.float16, torch.bfloat16)
PROMPTS = ("a photo of a cup of coffee", "a photo of a bicycle")
SEEDS = tuple(range(4))
CPU = torch.device("cpu")
Row = tuple[str, str, str]


class Silent:
    """A reporter of training jobs that reports nothing."""

    def progress(self, *_: Any) -> None:
        """Ignore the report."""

    def report_checkpoint(self, *_: Any) -> None:
        """Ignore the report."""


def changed_bytes(found: torch.Tensor, exact: torch.Tensor) -> str:
    """Return how many 8-bit values of pixels in [0,1] differ, and by how much."""
    first, second = (pixels.clamp(0, 1).mul(255).round() for pixels in (found, exact))
    distance = (first - second).abs()
    share = (distance > 0).float().mean() * 100
    return f"{share:.1f} % of 8-bit values differ, on average by {distance.mean():.2f}, at most by {distance.max():.0f}"


def compare_networks() -> Iterator[Row]:
    """Yield network, precision and error, on equal inputs."""
    plan = StudioPlan(device="cpu", threads=1)
    exact = open_studio(plan, precisions=EXACT)
    generator: Any = exact.generator
    latents: list[torch.Tensor] = []
    decode = generator.decoder.decode

    def recorded(rows: torch.Tensor) -> torch.Tensor:
        latents.append(rows.clone())
        pixels: torch.Tensor = decode(rows)
        return pixels

    generator.decoder.decode = recorded
    pictures = {prompt: generator.generate(prompt, "", SEEDS) for prompt in PROMPTS}
    del generator.decoder.decode
    pixels = torch.cat(list(pictures.values()))
    scores = [score["clip"] for prompt in PROMPTS for score in exact.reranker.score(pictures[prompt], prompt)]
    enlarged = [exact.upscaler.upscale(picture[None]) for picture in pixels[::4]]
    for dtype in NARROW:
        name = dtype_name(dtype)
        other = open_studio(plan, precisions=replace(EXACT, diffusion=dtype)).generator
        drawn = torch.cat([other.generate(prompt, "", SEEDS) for prompt in PROMPTS])
        judged = [
            s["clip"] for i, prompt in enumerate(PROMPTS) for s in exact.reranker.score(drawn[4 * i :][:4], prompt)
        ]
        mean = sum(judged) / len(judged) - sum(scores) / len(scores)
        yield "UNet and text encoder", name, f"{changed_bytes(drawn, pixels)}; mean CLIP score {mean:+.4f}"
        vae = copy.deepcopy(generator.pipeline.vae)
        vae.register_to_config(force_upcast=False)
        with torch.inference_mode():
            decoded = torch.cat([Decoder(vae, dtype).decode(rows) for rows in latents])
        yield "VAE", name, changed_bytes(decoded, pixels)
        clip = ClipReranker.load(catalog.resolve("reranking", "demo"), CPU, dtype)
        found = [score["clip"] for prompt in PROMPTS for score in clip.score(pictures[prompt], prompt)]
        errors = [abs(first - second) for first, second in zip(found, scores, strict=True)]
        yield "CLIP", name, f"scores are off by {max(errors):.5f} at most; {swapped(found, scores)}"
        upscaler = SwinirUpscaler.load(catalog.resolve("upscaling", "demo"), CPU, dtype)
        ours = torch.cat([upscaler.upscale(picture[None]) for picture in pixels[::4]])
        yield "SwinIR", name, changed_bytes(ours, torch.cat(enlarged))


def compare_rounding() -> Iterator[Row]:
    """Yield what is left of a learned change of 3e-5 that is added to normal weights in float32 and rounded once."""
    weights, change = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)) * 0.02, 3e-5
    for dtype in NARROW:
        rounded = (weights + change).to(dtype)
        lost = (rounded == weights.to(dtype)).float().mean() * 100
        error = (rounded.float() - (weights + change)).square().mean().sqrt() / change * 100
        result = f"{lost:.1f} % of the places do not change, RMS error {error:.0f} % of the change"
        yield "learned change", dtype_name(dtype), result


def swapped(found: list[float], exact: list[float]) -> str:
    """Return how many pairs of candidates change their order."""
    pairs = [(i, j) for start in range(0, len(exact), 4) for i in range(start, start + 4) for j in range(start, i)]
    wrong = sum((found[i] > found[j]) != (exact[i] > exact[j]) for i, j in pairs)
    return f"{wrong} of {len(pairs)} pairs change their order"


def compare_concept(path: Path, photos: Path) -> Iterator[Row]:
    """Yield network, precision and scores of a concept, each on the same seeds."""
    plan = StudioPlan(device="cpu", threads=1)
    rows = {dtype_name(dtype): replace(EXACT, diffusion=dtype) for dtype in (torch.float32, *NARROW)}
    rows["cuda"] = choose_precisions("auto", torch.device("cuda"))
    for name, precisions in rows.items():
        studio = open_studio(plan, precisions=precisions)
        run, pixels = training_run(studio, path, photos)
        scores = score_concept(run, run.training_job.concept, pixels)
        yield "concept", name, ", ".join(f"{key} {scores[key]:.4f}" for key in ("fidelity", "prompt", "prior"))


def training_run(studio: Studio, path: Path, photos: Path) -> tuple[TrainingRun, torch.Tensor]:
    """Return a run that only scores the concept, and its photos (N,3,S,S)."""
    with safe_open(path, framework="pt") as file:
        meta = file.metadata()
    token, noun, method = meta["placeholder_token"], meta["class_noun"], meta["method"]
    concept = Concept("benchmark", method, str(path), sha256_of(path), token, noun)
    files = tuple(PhotoFile.at(file) for file in sorted(photos.glob("*.png")))
    job = TrainingJob("benchmark", "benchmark", noun, token, method, files, 0, ".", concept=concept)
    generator: Any = studio.generator
    pixels = prepare_photos(files, generator.size, job.photo_limits, ignore_steps).pixels
    return TrainingRun(studio, job, Silent(), DEFAULTS[method]), pixels


def main() -> None:
    """Print one row per network and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concept", type=Path, help="a concept file")
    parser.add_argument("--photos", type=Path, help="the folder of its photos")
    options = parser.parse_args()
    if options.concept:
        rows = compare_concept(options.concept, options.photos)
    else:
        rows = chain(compare_networks(), compare_rounding())
    for network, precision, result in rows:
        print(f"| {network} | {precision} | {result} |", flush=True)


if __name__ == "__main__":
    main()
