"""Both products, several seeds, every method: a table and contact sheets in docs/products.md.

    python benchmarks/products.py                     2 products x 3 seeds x 4 ways to learn
    python benchmarks/products.py --seeds 1           a first look

Every finished lesson is kept in .cache/products, so an interrupted run goes on; delete it to start anew.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from PIL import Image

from models import lessons, photos
from models.briefs import Concept, Lesson, StudioPlan, placeholder, subject
from models.images import pil_of
from models.studio import Studio
from streams.cli.sheets import Frame, Strip, contact_sheet

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "products"
PRODUCTS = {"milk": "carton of milk", "jam": "jar of jam"}
SHOWN = "a photo of a {} on a table"


@dataclass(frozen=True)
class Way:
    """One way to learn: a method and what differs from its defaults."""

    name: str
    method: str
    changes: dict[str, Any]


WAYS = (
    Way("Textual Inversion", "textual_inversion", {}),
    Way("DreamBooth", "dreambooth", {}),
    Way("DreamBooth, no prior", "dreambooth", {"prior_loss_weight": 0.0}),
    Way("DreamBooth, LoRA", "dreambooth_lora", {}),
)
COLUMNS = ("fidelity", "prompt", "prior", "diversity")


class Bar:
    """One line on stderr, rewritten."""

    def progress(self, stage: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r  {stage} {done}/{total}      ", end="", file=sys.stderr)

    def checkpointed(self, step: int, path: str) -> None: ...


def main() -> None:
    """Teach what is not taught yet, score it, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--products", nargs="+", choices=list(PRODUCTS), default=list(PRODUCTS))
    parser.add_argument("--ways", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("--diffusion", default="demo")
    parser.add_argument("--reranking", default="demo")
    parser.add_argument("--upscaling", default="demo")
    parser.add_argument("--steps", type=int, help="fewer training steps, for a rehearsal")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "products.md")
    given = parser.parse_args()
    studio = Studio.open(StudioPlan(given.diffusion, given.reranking, given.upscaling, bucket=4))
    ways = [way for way in WAYS if way.name in given.ways]
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(given.seeds):
        for product in given.products:
            for way in ways:
                row = taught(studio, product, way, seed, given.steps)
                rows.setdefault(f"{product}|{way.name}", []).append(row)
                print(f"{product}, {way.name}, seed {seed}: {_figures(row)}", flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for product in given.products:
        _sheet(studio, product, ways, rows, given.out.with_name(f"products-{product}.png"))
    given.out.write_text(_page(studio, given.products, ways, rows), "utf-8")
    print(f"see {given.out}")


def taught(studio: Studio, product: str, way: Way, seed: int, steps: int | None) -> dict[str, Any]:
    """Return scores, steps, seconds and the concept's file of one lesson; from the cache where it was taught before."""
    lesson = _lesson(studio, product, way, seed, steps)
    row_path = Path(lesson.workdir) / "row.json"
    if row_path.is_file():
        return dict(json.loads(row_path.read_text()))
    Path(lesson.workdir).mkdir(parents=True, exist_ok=True)
    learned = lessons.learn(studio, lesson, Bar())
    row = {
        "scores": learned.scores,
        "steps": learned.steps,
        "seconds": learned.device_seconds,
        "path": learned.path,
        "sha256": learned.sha256,
    }
    row_path.write_text(json.dumps(row))
    for checkpoint in Path(lesson.workdir).glob("checkpoint-*"):
        checkpoint.unlink()
    return row


def before(studio: Studio, product: str) -> dict[str, float]:
    """Return the untaught model's scores."""
    lesson = _lesson(studio, product, WAYS[1], 0, None)
    return _teaching(studio, lesson).evaluate(None, _photos(studio, product))


def _lesson(studio: Studio, product: str, way: Way, seed: int, steps: int | None) -> Lesson:
    words = [studio.recipe.fingerprint, product, way.name, seed, steps, studio.training]
    folder = CACHE / hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]
    lesson = Lesson(
        request_id=folder.name,
        product_id=product,
        class_noun=PRODUCTS[product],
        placeholder_token=placeholder(product, way.method),
        method=way.method,
        photos=tuple(path.read_bytes() for path in _files(product)),
        seed=seed,
        workdir=str(folder),
        class_cache=str(CACHE / "class-images"),
        steps=steps,
    )
    return replace(lesson, **way.changes)


def _files(product: str) -> list[Path]:
    return sorted((ROOT / "docs" / "examples" / "products" / product).glob("*.png"))


def _photos(studio: Studio, product: str) -> torch.Tensor:
    return photos.prepare([path.read_bytes() for path in _files(product)], studio.generator.size).pixels


def _teaching(studio: Studio, lesson: Lesson) -> lessons.Teaching:
    return lessons.Teaching(studio, lesson, Bar(), lessons.options_of(lesson, studio.training))


def _draw(studio: Studio, product: str, way: Way | None, row: dict[str, Any] | None) -> tuple[Frame, ...]:
    """Four pictures of the product (of the class noun, without a row), and two of the class noun alone."""
    chosen = way or WAYS[1]
    lesson = _lesson(studio, product, chosen, 0, None)
    concept = row and Concept(
        product, lesson.method, row["path"], row["sha256"], lesson.placeholder_token, lesson.class_noun
    )
    word = subject(lesson.placeholder_token, lesson.class_noun, lesson.method) if concept else lesson.class_noun
    teaching = _teaching(studio, lesson)
    shown = teaching.draw(SHOWN.format(word), lessons.seeds_for("sheet", "", 3), concept or None)
    others = teaching.draw(
        f"a photo of a {lesson.class_noun}", lessons.seeds_for("sheet others", "", 2), concept or None
    )
    labels = ["the product"] * 3 if concept else [lesson.class_noun] * 3
    pictures = [*pil_of(shown), *pil_of(others)]
    return tuple(
        Frame(_png(picture), label)
        for picture, label in zip(pictures, [*labels, lesson.class_noun, lesson.class_noun], strict=True)
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def _sheet(studio: Studio, product: str, ways: list[Way], rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    real = tuple(Frame(file.read_bytes(), f"photo {number}") for number, file in enumerate(_files(product), 1))
    strips = [
        Strip("Photos", f"what was learned from: a {PRODUCTS[product]}", (), real),
        Strip("Before", SHOWN.format(PRODUCTS[product]), (), _draw(studio, product, None, None)),
    ]
    for way in ways:
        row = rows[f"{product}|{way.name}"][0]
        facts = (f"{row['steps']} steps, {row['seconds']:.0f} s", *(f"{c} {row['scores'][c]:.3f}" for c in COLUMNS))
        strips.append(Strip(way.name, "seed 0; right: the class noun alone", facts, _draw(studio, product, way, row)))
    path.write_bytes(contact_sheet("Products", f"{product}: {PRODUCTS[product]}", strips, across=5))


def _page(studio: Studio, products: list[str], ways: list[Way], rows: dict[str, list[dict[str, Any]]]) -> str:
    used = next(used for used in studio.recipe.models if used.role == "diffusion")
    lines = [
        "# Products: what each way of learning reaches",
        "",
        "Made by `python benchmarks/products.py`. Figures are means over the seeds, with the standard deviation where",
        "there are several. fidelity: CLIP-I on background-masked crops against the photos (higher is better).",
        "prompt: CLIP-T (higher). prior: PRES, likeness of pictures of the class noun alone to the product (lower).",
        "diversity: DIV, mean CLIP distance among those (higher). The embeddings are the demo family's own",
        "small CLIP's: compare rows of this table with each other, not with figures from elsewhere.",
        "",
        f"Model {used.id} {used.revision}, device {studio.device}, {time.strftime('%Y-%m-%d')}.",
    ]
    for product in products:
        untaught = before(studio, product)
        lines += [
            "",
            f"## {product}: {PRODUCTS[product]}",
            "",
            f"| way | seeds | steps | seconds | {' | '.join(COLUMNS)} |",
            f"|---|---|---|---|{'---|' * len(COLUMNS)}",
            f"| untaught model | | | | {' | '.join(f'{untaught[column]:.3f}' for column in COLUMNS)} |",
        ]
        lines += [_line(way, rows[f"{product}|{way.name}"]) for way in ways]
        lines += ["", f"![contact sheet of {product}](products-{product}.png)"]
    return "\n".join(lines) + "\n"


def _line(way: Way, runs: list[dict[str, Any]]) -> str:
    cells = [_spread([run["scores"][column] for run in runs]) for column in COLUMNS]
    seconds = mean(run["seconds"] for run in runs)
    return f"| {way.name} | {len(runs)} | {runs[0]['steps']} | {seconds:.0f} | {' | '.join(cells)} |"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ±{stdev(values):.3f}" if len(values) > 1 else "")


def _figures(row: dict[str, Any]) -> str:
    figures = ", ".join(f"{column} {row['scores'][column]:.3f}" for column in COLUMNS)
    return f"{figures} ({row['steps']} steps, {row['seconds']:.0f} s)"


if __name__ == "__main__":
    main()
