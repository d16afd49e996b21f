"""What the demo leaves behind: the events, the pictures, a contact sheet and a page, in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.events import Image, ProductReady, ProductRegistered
from streams.cli.contact_sheet import Frame, Strip, contact_sheet
from streams.cli.demo.outcomes import Kept, Outcome, Taught, jsonl
from streams.cli.local_rendering import ENDINGS, figure

METHODS = {  # in the order in which they stand side by side
    "textual_inversion": "Textual Inversion",
    "dreambooth": "DreamBooth",
    "dreambooth_lora": "DreamBooth with LoRA",
}
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Hung:
    """One picture as the page shows it. file: relative to the page."""

    image: Image
    file: str
    figure: str


@dataclass(frozen=True)
class Column:
    """One way to a product: the creative, and how the product was learned for it, if it was."""

    heading: str
    outcome: Outcome
    taught: Taught | None = None


@dataclass(frozen=True)
class Comparison:
    """One product: the same segment before it was learned and by each method."""

    product: ProductRegistered
    columns: tuple[Column, ...]


def comparisons(found: Sequence[Outcome | Taught]) -> list[Comparison]:
    """Return what belongs side by side: creatives of one segment and one product, the untaught first."""
    methods = list(METHODS)
    training_jobs = sorted(
        (one for one in found if isinstance(one, Taught)), key=lambda one: methods.index(one.ready.method)
    )
    creatives = [one for one in found if isinstance(one, Outcome)]
    products: dict[str, list[Column]] = {}
    for taught in training_jobs:
        for creative in creatives:
            if creative.segment.product_id == taught.ready.product_id:
                column = Column(METHODS[taught.ready.method], creative, taught)
                products.setdefault(taught.product.name, []).append(column)
    return [_compared(columns, creatives) for columns in products.values()]


def _compared(columns: list[Column], creatives: list[Outcome]) -> Comparison:
    names = {column.outcome.segment.name for column in columns}
    before = [one for one in creatives if one.segment.product_id is None and one.segment.name in names]
    taught = columns[0].taught
    assert taught is not None
    return Comparison(taught.product, (*(Column("Before", one) for one in before), *columns))


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
    compared = comparisons(found)
    strips = [*map(_strip, _others(found, compared)), *map(_side_by_side, compared)]
    models = " · ".join(dict.fromkeys(f"{model.role}: {model.id}" for model in found[0].ready.recipe.models))
    return contact_sheet("Fluence creatives", models, strips)


def _others(found: Sequence[Outcome | Taught], compared: Sequence[Comparison]) -> list[Outcome]:
    """Return the creatives that stand for themselves."""
    shown = [column.outcome for comparison in compared for column in comparison.columns]
    return [one for one in found if isinstance(one, Outcome) and one not in shown]


def _strip(outcome: Outcome) -> Strip:
    frames = tuple(
        Frame(kept.content, f"Rank {kept.image.rank}", figure(kept.image.scores)) for kept in outcome.pictures
    )
    cost = outcome.ready.cost
    words = f"{cost.candidates} candidates, {cost.device_seconds:.1f} s"
    return Strip(outcome.segment.name, outcome.ready.prompt, (words,), frames)


def _side_by_side(comparison: Comparison) -> Strip:
    """Return a strip with one column of pictures per way; a row ends where one way has no more pictures."""
    rows = zip(*(column.outcome.pictures for column in comparison.columns), strict=False)
    frames = tuple(
        Frame(kept.content, column.heading, figure(kept.image.scores))
        for row in rows
        for column, kept in zip(comparison.columns, row, strict=True)
    )
    facts = [line for column in comparison.columns if column.taught for line in (column.heading, *told(column.taught))]
    return Strip(comparison.product.name, f"a {comparison.product.class_noun}", tuple(facts), frames)


def told(taught: Taught) -> tuple[str, ...]:
    """Return what learning took and what it brought."""
    return (f"{taught.ready.steps} steps, {taught.ready.cost.device_seconds:.0f} s", *likeness(taught.ready))


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
    compared = comparisons(found)
    return environment.get_template("demo.html").render(
        segments=len(segments),
        outcomes=[(one, _hung(one)) for one in _others(found, compared)],
        comparisons=compared,
        hung=_hung,
        told=told,
        candidates=sum(outcome.ready.cost.candidates for outcome in segments),
        seconds=sum(outcome.ready.cost.device_seconds for outcome in segments),
        device=found[0].ready.cost.device,
        recipe=found[0].ready.recipe,
    )
