"""The studio without Kafka: one brief through the lane's child process, and the pictures into a folder."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.briefs import Brief, Rendering, StudioPlan, StudioReady
from streams.cli.contact_sheet import Frame, Strip, contact_sheet
from streams.cli.progress import StageBars
from streams.cli.terminal import err
from streams.device.client import DeviceClient
from streams.device.status import DeviceStatus
from streams.settings import DeviceSettings

LOOK = 0.1  # seconds between two looks at the lane
ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@dataclass(frozen=True)
class Made:
    """What one brief became, with the studio that made it. brief: as it was rendered."""

    brief: Brief
    rendering: Rendering
    ready: StudioReady


async def make(brief: Brief, plan: StudioPlan, settings: DeviceSettings, entry: str = "models.serving:serve") -> Made:
    """Load a studio, render the brief, end the studio; bars on stderr meanwhile. Raises the studio's named errors.

    An empty negative prompt becomes the model family's own.
    """
    device = DeviceClient(plan, settings, entry)
    with StageBars(err) as bars:
        following = asyncio.create_task(follow(device, bars))
        try:
            ready = await device.start()
            if not brief.negative_prompt:
                brief = dataclasses.replace(brief, negative_prompt=ready.negative_prompt)
            rendering = await device.render(brief)
        finally:
            following.cancel()
            await device.stop()
        show(device.status(), bars)  # the last stages may have come and gone since the last look
        bars.finish()
    return Made(brief, rendering, ready)


async def follow(device: DeviceClient, bars: StageBars) -> None:
    """Show on the bars what the lane does, for ever."""
    while True:
        show(device.status(), bars)
        await asyncio.sleep(LOOK)


def show(status: DeviceStatus, bars: StageBars) -> None:
    """Show on the bars what the lane does, or did last."""
    if status.state == "loading":
        bars.show({"load": (0, 0)})
    elif status.stages:
        bars.show(status.stages)


def write(made: Made, folder: Path) -> list[Path]:
    """Write the pictures, contact-sheet.png and scores.json into `folder`; return the pictures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, picture in enumerate(made.rendering.pictures, 1):
        path = folder / f"{number}-{picture.format}-{picture.seed}.{ENDINGS[picture.media_type]}"
        path.write_bytes(picture.content)
        paths.append(path)
    (folder / "contact-sheet.png").write_bytes(_sheet(made))
    text = json.dumps(_scores(made, paths), indent=2, ensure_ascii=False)
    (folder / "scores.json").write_text(text + "\n", "utf-8")
    return paths


def folder_for(prompt: str) -> Path:
    """Return a folder named by the prompt's first words: pictures of two prompts do not mix."""
    words = re.findall(r"\w+", prompt.lower())[:6]
    return Path("generated") / ("-".join(words) or "prompt")


def figure(scores: dict[str, float]) -> str:
    """Return the score a picture was ranked by: the first."""
    return next((f"{name} {value:.3f}" for name, value in scores.items()), "")


def _sheet(made: Made) -> bytes:
    pictures, brief = made.rendering.pictures, made.brief
    facts = (
        f"{len(made.rendering.candidates)} candidates, {len(pictures)} kept",
        f"{made.rendering.device_seconds:.1f} s on {made.ready.device}",
        f"recipe {made.ready.recipe.fingerprint[:12]}",
    )
    frames = tuple(Frame(picture.content, f"Rank {picture.rank}", figure(picture.scores)) for picture in pictures)
    models = " · ".join(model.id for model in made.ready.recipe.models)
    return contact_sheet("Fluence creatives", models, [Strip("Prompt", brief.prompt, facts, frames)])


def _scores(made: Made, paths: list[Path]) -> dict[str, Any]:
    pictures = [
        {
            "rank": picture.rank,
            "file": path.name,
            "format": picture.format,
            "width": picture.width,
            "height": picture.height,
            "seed": picture.seed,
            "sha256": hashlib.sha256(picture.content).hexdigest(),
            "scores": picture.scores,
        }
        for picture, path in zip(made.rendering.pictures, paths, strict=True)
    ]
    return {
        "prompt": made.brief.prompt,
        "negative_prompt": made.brief.negative_prompt,
        "device": made.ready.device,
        "device_seconds": round(made.rendering.device_seconds, 3),
        "pictures": pictures,
        "candidates": [dataclasses.asdict(candidate) for candidate in made.rendering.candidates],
        "recipe": dataclasses.asdict(made.ready.recipe),
    }
