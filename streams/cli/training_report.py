"""Report a trained product: files with pictures, scores and losses, and a table on the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from PIL import Image, ImageDraw
from rich.table import Table

from models.briefs import Picture, StudioReady, TrainingJob, TrainingResult
from models.subjects import subject
from streams.cli.contact_sheet import ACCENT, FAINT, PAPER, RULE, Frame, Strip, contact_sheet
from streams.cli.terminal import console, counted
from streams.store.keys import FILE_EXTENSIONS

PLOT_SIZE = (960, 420)
SMOOTHING = 0.96  # weight of the past in the exponential mean of the loss
BEFORE = "_before"  # suffix of a score that was measured before the training
SCORE_MEANINGS = {
    "fidelity": "CLIP-I: likeness to the photos, background masked",
    "fidelity_dino": "the same, measured by DINO",
    "prompt": "CLIP-T: likeness to the prompt",
    "prior": "PRES: likeness of other members of the class to the photos (lower is better)",
    "prior_diversity": "DIV of the class: CLIP distance between its members, background masked",
    "diversity": "DIV: CLIP distance between pictures of the product under one prompt",
    "prior_preserved": "1: trained with class images (prior preservation); 0: without",
    "photos_refused": "photos that were not used",
}


@dataclass(frozen=True)
class TrainedProduct:
    """A finished training job. before: pictures of the class noun from before the training."""

    training_job: TrainingJob
    result: TrainingResult
    before: tuple[Picture, ...]
    ready: StudioReady


def write_report(product: TrainedProduct, folder: Path) -> dict[str, Path]:
    """Write pictures, scores.json, contact sheet and loss plot into `folder`. Return the main files by name."""
    for name, pictures in (("before", product.before), ("after", product.result.pictures)):
        for picture in pictures:
            (folder / f"{name}-{picture.rank}.{FILE_EXTENSIONS[picture.media_type]}").write_bytes(picture.content)
    scores = {
        "scores": product.result.scores,
        "steps": product.result.steps,
        "sha256": product.result.sha256,
        "device": product.ready.device,
        "device_seconds": round(product.result.device_seconds, 3),
        "recipe": asdict(product.ready.recipe),
    }
    (folder / "scores.json").write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (folder / "before-and-after.png").write_bytes(_sheet(product))
    files = {"sheet": folder / "before-and-after.png", "concept": Path(product.result.path)}
    losses = _read_losses(folder)
    if losses:
        loss_plot(losses).save(folder / "loss.png")
        files["losses"] = folder / "loss.png"
    return files


def print_report(product: TrainedProduct, files: dict[str, Path]) -> None:
    """Print the scores, the cost and the files."""
    result = product.result
    table = Table("score", "before", "after", "meaning", header_style="bold", border_style="dim")
    for name, (before, after) in before_and_after(result.scores).items():
        table.add_row(name, "" if before is None else f"{before:.3f}", f"{after:.3f}", SCORE_MEANINGS.get(name, ""))
    console.print(table)
    click.echo(f"{counted(result.steps, 'step')}, {result.device_seconds:.1f} s on {product.ready.device}")
    for name, path in files.items():
        click.echo(f"{name}: {path}")


def before_and_after(scores: dict[str, float]) -> dict[str, tuple[float | None, float]]:
    """Return each score with the value from before the training, None if that was not measured."""
    after = {name: score for name, score in scores.items() if not name.endswith(BEFORE)}
    return {name: (scores.get(name + BEFORE), score) for name, score in after.items()}


def loss_plot(losses: list[float]) -> Image.Image:
    """Return a plot of the losses by step: a faint point per step and their exponential mean as a line."""
    width, height = PLOT_SIZE
    image = Image.new("RGB", PLOT_SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    top = sorted(losses)[int(0.99 * (len(losses) - 1))] * 1.1 or 1.0
    points = [
        (40 + number / max(1, len(losses) - 1) * (width - 60), height - 30 - min(loss / top, 1) * (height - 60))
        for number, loss in enumerate(losses)
    ]
    draw.line((40, height - 30, width - 20, height - 30), RULE, 2)
    draw.line((40, 30, 40, height - 30), RULE, 2)
    for x, y in points:
        draw.point((x, y), FAINT)
    mean, smooth = points[0][1], []
    for x, y in points:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * y
        smooth.append((x, mean))
    if len(smooth) > 1:
        draw.line(smooth, ACCENT, 3)
    draw.text((46, 10), f"loss by step; the axis ends at {top:.3g}, step {len(losses)}", FAINT)
    return image


def _read_losses(folder: Path) -> list[float]:
    """Return the losses of all steps, including those of earlier runs; none if the training did not finish."""
    path = folder / "losses.json"
    return [float(loss) for loss in json.loads(path.read_text())] if path.is_file() else []


def _sheet(product: TrainedProduct) -> bytes:
    training_job, result = product.training_job, product.result
    name = subject(training_job.placeholder_token, training_job.class_noun, training_job.method)
    scores = before_and_after(result.scores)
    before = tuple(f"{score} {value:.3f}" for score, (value, _) in scores.items() if value is not None)
    after = tuple(f"{score} {value:.3f}" for score, (_, value) in scores.items())
    shown = enumerate(training_job.photos[:4], 1)
    photos = tuple(Frame(Path(photo.path).read_bytes(), f"Photo {number}") for number, photo in shown)
    strips = [
        Strip(
            training_job.product_id,
            f"{counted(len(training_job.photos), 'photo')} of a {training_job.class_noun}",
            (),
            photos,
        ),
        Strip("Before", f"a photo of a {training_job.class_noun}", before, _frames(product.before)),
        Strip(
            "After",
            f"a photo of a {name}",
            (f"{training_job.method}, {counted(result.steps, 'step')}", *after),
            _frames(result.pictures),
        ),
    ]
    return contact_sheet("Trained product", " · ".join(model.id for model in product.ready.recipe.models), strips, 4)


def _frames(pictures: tuple[Picture, ...]) -> tuple[Frame, ...]:
    return tuple(Frame(picture.content, f"Seed {picture.seed % 10**6}") for picture in pictures)
