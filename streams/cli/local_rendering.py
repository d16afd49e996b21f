"""Render one brief without Kafka and write the pictures into a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.briefs import Brief, Rendering, StudioPlan, StudioReady
from streams.cli.contact_sheet import Frame, Strip, contact_sheet
from streams.cli.local_device import local_device
from streams.cli.pictures import rank_label, ranking_score
from streams.cli.terminal import counted
from streams.device.client import ENTRY
from streams.settings import DeviceSettings
from streams.store.keys import FILE_EXTENSIONS


@dataclass(frozen=True)
class LocalRendering:
    """The brief as it was rendered, its pictures, and the loaded models that made them."""

    brief: Brief
    rendering: Rendering
    ready: StudioReady


async def render_locally(
    brief: Brief, plan: StudioPlan, settings: DeviceSettings, entry: str = ENTRY
) -> LocalRendering:
    """Load the models and render the brief, with progress bars on stderr. Raises the named errors of the device.

    The default of the model family replaces an empty negative prompt.
    """
    async with local_device(plan, settings, entry) as device:
        if not brief.negative_prompt:
            brief = dataclasses.replace(brief, negative_prompt=device.ready.negative_prompt)
        rendering = await device.render(brief)
    return LocalRendering(brief, rendering, device.ready)


def write_rendering(result: LocalRendering, folder: Path) -> list[Path]:
    """Write the pictures, contact-sheet.png and scores.json into `folder`. Return the paths of the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, picture in enumerate(result.rendering.pictures, 1):
        path = folder / f"{number}-{picture.format}-{picture.seed}.{FILE_EXTENSIONS[picture.media_type]}"
        path.write_bytes(picture.content)
        paths.append(path)
    (folder / "contact-sheet.png").write_bytes(_sheet(result))
    text = json.dumps(_scores(result, paths), indent=2, ensure_ascii=False)
    (folder / "scores.json").write_text(text + "\n", "utf-8")
    return paths


def default_folder(prompt: str) -> Path:
    """Return a folder named after the first six words of the prompt, so that prompts do not share a folder."""
    words = re.findall(r"\w+", prompt.lower())[:6]
    return Path("generated") / ("-".join(words) or "prompt")


def _sheet(result: LocalRendering) -> bytes:
    pictures, brief = result.rendering.pictures, result.brief
    facts = (
        f"{counted(len(result.rendering.candidates), 'candidate')}, {len(pictures)} kept",
        f"{result.rendering.device_seconds:.1f} s on {result.ready.device}",
        f"recipe {result.ready.recipe.fingerprint[:12]}",
    )
    frames = tuple(
        Frame(picture.content, rank_label(picture.rank, picture.format, brief.formats), ranking_score(picture.scores))
        for picture in pictures
    )
    models = " · ".join(model.id for model in result.ready.recipe.models)
    return contact_sheet("Fluence creatives", models, [Strip("Prompt", brief.prompt, facts, frames)])


def _scores(result: LocalRendering, paths: list[Path]) -> dict[str, Any]:
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
        for picture, path in zip(result.rendering.pictures, paths, strict=True)
    ]
    return {
        "prompt": result.brief.prompt,
        "negative_prompt": result.brief.negative_prompt,
        "device": result.ready.device,
        "device_seconds": round(result.rendering.device_seconds, 3),
        "pictures": pictures,
        "candidates": [dataclasses.asdict(candidate) for candidate in result.rendering.candidates],
        "recipe": dataclasses.asdict(result.ready.recipe),
    }
