"""Products without Kafka: photos through the lane's child process, and what was learned into a folder.

The folder of a product holds lesson.json, the photos as given, the concept, its checkpoint, losses and pictures.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from models.briefs import Brief, Concept, Picture, StudioPlan, StudioReady, TrainingJob, TrainingResult, subject
from streams.cli.contact_sheet import ACCENT, FAINT, PAPER, RULE, Frame, Strip, contact_sheet
from streams.cli.local_rendering import ENDINGS, follow
from streams.cli.progress import StageBars
from streams.cli.terminal import Wrong, err
from streams.device.client import DeviceClient
from streams.requests import seeds_from
from streams.settings import DeviceSettings

LESSON, PHOTOS, CONCEPT = "training-job.json", "photos", "concept.safetensors"
PLOT = (960, 420)
SMOOTHING = 0.96
EXPLAINED = {
    "fidelity": "CLIP-I: likeness to the photos, background masked",
    "fidelity_dino": "the same by DINO",
    "prompt": "CLIP-T: likeness to the prompt",
    "prior": "PRES: likeness of other members of the class to the photos (lower is better)",
    "prior_diversity": "DIV of the class: CLIP distance between its members, background masked",
    "diversity": "DIV: CLIP distance between pictures of the product under one prompt",
    "prior_preserved": "1: class images held the prior; 0: without them",
    "photos_refused": "photos that were left out",
}
BEFORE = "_before"


@dataclass(frozen=True)
class Taught:
    """A finished lesson, with a picture of the class noun from before it."""

    training_job: TrainingJob
    learned: TrainingResult
    before: tuple[Picture, ...]
    ready: StudioReady


def training_job_of(folder: Path, photos: tuple[bytes, ...], given: dict[str, Any]) -> TrainingJob:
    """Write the photos and the lesson into `folder` and return the lesson. given: the other fields of `Lesson`."""
    (folder / PHOTOS).mkdir(parents=True, exist_ok=True)
    for old in (folder / PHOTOS).iterdir():
        old.unlink()
    for number, content in enumerate(photos, 1):
        (folder / PHOTOS / f"{number:02d}").write_bytes(content)
    (folder / LESSON).write_text(json.dumps(given, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return read_training_job(folder)


def read_training_job(folder: Path) -> TrainingJob:
    """Return the lesson written in `folder`. Raises Wrong where there is none."""
    try:
        given = json.loads((folder / LESSON).read_text("utf-8"))
    except FileNotFoundError:
        raise Wrong(f"{folder} holds no lesson: teach the product first, with `creatives train`.") from None
    photos = tuple(path.read_bytes() for path in sorted((folder / PHOTOS).iterdir()))
    return TrainingJob(
        request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(given, sort_keys=True))),
        photos=photos,
        workdir=str(folder),
        class_cache=str(folder.parent / "class-images"),
        **given,
    )


async def teach(
    training_job: TrainingJob, plan: StudioPlan, settings: DeviceSettings, entry: str = "models.serving:serve"
) -> Taught:
    """Load a studio, draw the class noun, learn the product, end the studio; bars on stderr meanwhile.

    Raises the studio's named errors.
    """
    device = DeviceClient(plan, settings, entry)
    with StageBars(err) as bars:
        following = asyncio.create_task(follow(device, bars))
        try:
            ready = await device.start()
            rendering = await device.render(_before(training_job, ready))
            learned = await device.train(training_job, _kept)
        finally:
            following.cancel()
            await device.stop()
        bars.finish()
    return Taught(training_job, learned, rendering.pictures, ready)


async def _kept(_step: int, _path: Path) -> None:
    """The checkpoint lies in the product's folder already."""


def _before(training_job: TrainingJob, ready: StudioReady) -> Brief:
    prompt = f"a photo of a {training_job.class_noun}"
    seeds = seeds_from(training_job.class_noun, 2)
    return Brief(f"{training_job.request_id}-before", prompt, ready.negative_prompt, seeds, 2)


def write(taught: Taught, folder: Path) -> dict[str, Path]:
    """Write pictures, scores.json, contact sheet and loss plot into `folder`; return the paths by what they are."""
    for name, pictures in (("before", taught.before), ("after", taught.learned.pictures)):
        for picture in pictures:
            (folder / f"{name}-{picture.rank}.{ENDINGS[picture.media_type]}").write_bytes(picture.content)
    scores = {
        "scores": taught.learned.scores,
        "steps": taught.learned.steps,
        "sha256": taught.learned.sha256,
        "device": taught.ready.device,
        "device_seconds": round(taught.learned.device_seconds, 3),
        "recipe": asdict(taught.ready.recipe),
    }
    (folder / "scores.json").write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (folder / "before-and-after.png").write_bytes(_sheet(taught))
    losses = _losses(folder)
    if losses:
        loss_plot(losses).save(folder / "loss.png")
    sheet = {"sheet": folder / "before-and-after.png", "concept": Path(taught.learned.path)}
    return sheet | ({"losses": folder / "loss.png"} if losses else {})


def loss_plot(losses: list[float]) -> Image.Image:
    """Return the losses by step as a picture: every step faint, an exponential mean over them."""
    width, height = PLOT
    image = Image.new("RGB", PLOT, PAPER)
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


def _losses(folder: Path) -> list[float]:
    """Return the losses of all steps, whichever run took them; none of a lesson that was never finished."""
    path = folder / "losses.json"
    return [float(loss) for loss in json.loads(path.read_text())] if path.is_file() else []


def _sheet(taught: Taught) -> bytes:
    training_job, learned = taught.training_job, taught.learned
    word = subject(training_job.placeholder_token, training_job.class_noun, training_job.method)
    figures = before_and_after(learned.scores)
    untaught = tuple(f"{name} {before:.3f}" for name, (before, _) in figures.items() if before is not None)
    facts = tuple(f"{name} {after:.3f}" for name, (_, after) in figures.items())
    photos = tuple(Frame(content, f"Photo {number}") for number, content in enumerate(training_job.photos[:4], 1))
    strips = [
        Strip(training_job.product_id, f"{len(training_job.photos)} photos of a {training_job.class_noun}", (), photos),
        Strip("Before", f"a photo of a {training_job.class_noun}", untaught, _frames(taught.before)),
        Strip(
            "After",
            f"a photo of a {word}",
            (f"{training_job.method}, {learned.steps} steps", *facts),
            _frames(learned.pictures),
        ),
    ]
    return contact_sheet("A product learned", " · ".join(model.id for model in taught.ready.recipe.models), strips, 4)


def before_and_after(scores: dict[str, float]) -> dict[str, tuple[float | None, float]]:
    """Return each score beside the untaught model's, where that was measured too."""
    after = {name: score for name, score in scores.items() if not name.endswith(BEFORE)}
    return {name: (scores.get(name + BEFORE), score) for name, score in after.items()}


def _frames(pictures: tuple[Picture, ...]) -> tuple[Frame, ...]:
    return tuple(Frame(picture.content, f"Seed {picture.seed % 10**6}") for picture in pictures)


def again(training_job: TrainingJob) -> TrainingJob:
    """Return the lesson with its concept, to be scored and not to be learned. Raises Wrong where there is none."""
    path = Path(training_job.workdir) / CONCEPT
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise Wrong(
            f"{training_job.workdir} holds no concept: `creatives train` did not come to its end there."
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
