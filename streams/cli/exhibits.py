"""What the demo leaves behind: the events, the pictures, a contact sheet and a page, in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.events import Image, ProductReady
from streams.cli.demonstration import Kept, Outcome, Taught, jsonl
from streams.cli.generating import ENDINGS, figure
from streams.cli.sheets import Frame, Strip, contact_sheet

METHODS = {
    "dreambooth": "DreamBooth",
    "dreambooth_lora": "DreamBooth with LoRA",
    "textual_inversion": "Textual Inversion",
}
TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True)
class Hung:
    """One picture as the page shows it. file: relative to the page."""

    image: Image
    file: str
    figure: str


def clear(folder: Path) -> None:
    """Make the folder, and remove what an earlier demo left in it; other people's files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    for name in ("events.jsonl", "contact-sheet.png", "index.html", "worker.log"):
        (folder / name).unlink(missing_ok=True)


def write(found: Sequence[Outcome | Taught], folder: Path) -> None:
    """Write events.jsonl, pictures/, contact-sheet.png and index.html. Raises OSError."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for outcome in found:
        for kept in outcome.pictures:
            (folder / file_of(outcome, kept)).write_bytes(kept.content)
    (folder / "events.jsonl").write_bytes(jsonl(found))
    (folder / "contact-sheet.png").write_bytes(_sheet(found))
    (folder / "index.html").write_text(_page(found), "utf-8")


def file_of(outcome: Outcome | Taught, kept: Kept) -> str:
    """Return a picture's path below the folder."""
    name = outcome.ready.segment_id if isinstance(outcome, Outcome) else f"product-{outcome.ready.product_id}"
    return f"pictures/{name}-{kept.image.rank}.{ENDINGS[kept.image.media_type]}"


def _sheet(found: Sequence[Outcome | Taught]) -> bytes:
    strips = [_strip(outcome) for outcome in found]
    models = " · ".join(dict.fromkeys(f"{model.role}: {model.id}" for model in found[0].ready.recipe.models))
    return contact_sheet("Fluence creatives", models, strips)


def _strip(outcome: Outcome | Taught) -> Strip:
    frames = tuple(
        Frame(kept.content, f"Rank {kept.image.rank}", figure(kept.image.scores)) for kept in outcome.pictures
    )
    cost = outcome.ready.cost
    if isinstance(outcome, Outcome):
        words = f"{cost.candidates} candidates, {cost.device_seconds:.1f} s"
        return Strip(outcome.segment.name, outcome.ready.prompt, (words,), frames)
    facts = (f"{outcome.ready.steps} steps, {cost.device_seconds:.0f} s", *likeness(outcome.ready))
    return Strip(outcome.product.name, METHODS[outcome.ready.method], facts, frames)


def likeness(ready: ProductReady) -> tuple[str, ...]:
    """Return the likeness to the photos in words, where it was measured."""
    scores = ready.scores
    if "fidelity" not in scores:
        return ()
    return (f"CLIP-I {scores['fidelity']:.3f}, before {scores.get('fidelity_before', float('nan')):.3f}",)


def _hung(outcome: Outcome | Taught) -> tuple[Hung, ...]:
    return tuple(Hung(kept.image, file_of(outcome, kept), figure(kept.image.scores)) for kept in outcome.pictures)


def _page(found: Sequence[Outcome | Taught]) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    segments = [one for one in found if isinstance(one, Outcome)]
    products = [one for one in found if isinstance(one, Taught)]
    return environment.get_template("demo.html").render(
        outcomes=[(one, _hung(one)) for one in segments],
        products=[(one, _hung(one), likeness(one.ready)) for one in products],
        methods=METHODS,
        candidates=sum(outcome.ready.cost.candidates for outcome in segments),
        seconds=sum(outcome.ready.cost.device_seconds for outcome in segments),
        device=found[0].ready.cost.device,
        recipe=found[0].ready.recipe,
    )
