"""Both products, several seeds, every way to learn: a table, what it shows, and contact sheets in docs/products.md.

    python -m benchmarks.product_learning                     2 products x 3 seeds x 4 ways to learn, a process per core
    python -m benchmarks.product_learning --seeds 1           a first look

Every finished lesson is kept in .cache/products, and a broken-off one has its checkpoint there: an interrupted run goes
on; delete the folder to start anew. Exit code 1 where a claim of the page is not held by the figures.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from PIL import Image
from torch import Tensor

from benchmarks import training_runs
from benchmarks.claims import Claim, claims
from benchmarks.training_runs import PRODUCTS, ROOT, WAYS, Row, Task, Way, files_of, training_job_of
from models.briefs import Concept, StudioPlan, subject
from models.images import pixels_to_pil
from models.learning import fidelity, photos, training_job
from models.opening import open_studio
from models.studio import Studio
from streams.cli.contact_sheet import Frame, Strip, contact_sheet

SHOWN = "a photo of a {} on a table"
COLUMNS = ("fidelity", "prompt", "prior", "prior_diversity", "diversity")
Rows = Mapping[tuple[str, str], Sequence[Row]]
"""By product and way, in the order of the seeds."""


class Nobody:
    """Hears a lesson that needs no report."""

    def progress(self, stage: str, done: int, total: int) -> None: ...
    def checkpointed(self, step: int, path: str) -> None: ...


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--products", nargs="+", choices=list(PRODUCTS), default=list(PRODUCTS))
    parser.add_argument("--ways", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("--diffusion", default="demo")
    parser.add_argument("--reranking", default="demo")
    parser.add_argument("--upscaling", default="demo")
    parser.add_argument("--steps", type=int, help="fewer training steps, for a rehearsal")
    parser.add_argument("--workers", type=int, help="processes; default: one per core, one in all on CUDA")
    parser.add_argument("--cache", type=Path, default=training_runs.CACHE)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "products.md")
    return parser.parse_args()


def main() -> int:
    """Teach what is not taught yet, score it, write the page; return 1 where a claim is not held."""
    given = arguments()
    plan = StudioPlan(given.diffusion, given.reranking, given.upscaling, bucket=4, threads=1)
    studio = open_studio(plan)
    workers = given.workers or (os.cpu_count() or 1 if studio.device.type == "cpu" else 1)
    ways = [way for way in WAYS if way.name in given.ways]
    tasks = training_runs.tasks_of(given.products, ways, given.seeds, given.steps)
    found = training_runs.teach(plan, studio, tasks, workers, given.cache)
    rows: dict[tuple[str, str], list[Row]] = {}
    for task in tasks:
        rows.setdefault((task.product, task.way.name), []).append(found[task])
    untaught = {product: before(studio, product, rows) for product in given.products}
    judged = [
        claim for product in given.products for claim in claims(product, _scores(product, rows), untaught[product])
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for product in given.products:
        _sheet(studio, product, ways, rows, given.out.with_name(f"products-{product}.png"))
    given.out.write_text(_page(studio, untaught, ways, rows, judged), "utf-8")
    print("\n".join(map(str, judged)))
    print(f"see {given.out}")
    return 0 if all(claim.held for claim in judged) else 1


def _scores(product: str, rows: Rows) -> dict[str, list[dict[str, float]]]:
    return {way: [run["scores"] for run in runs] for (name, way), runs in rows.items() if name == product}


def before(studio: Studio, product: str, rows: Rows) -> dict[str, float]:
    """Return the untaught model's scores, as a lesson of the product measured them, else measured now."""
    for (name, _), runs in rows.items():
        scores = {column: runs[0]["scores"].get(f"{column}_before") for column in COLUMNS}
        if name == product and None not in scores.values():
            return scores
    return _teaching(studio, Task(product, WAYS[1], 0)).evaluate(None, _pixels(studio, product))


def _pixels(studio: Studio, product: str) -> Tensor:
    """Return the product's photos as the model sees them, (N,3,S,S)."""
    return photos.prepare([path.read_bytes() for path in files_of(product)], studio.generator.size).pixels


def _teaching(studio: Studio, task: Task) -> training_job.TrainingRun:
    job = training_job_of(studio, task)
    return training_job.TrainingRun(studio, job, Nobody(), training_job.options_of(job, studio.training))


def _draw(studio: Studio, product: str, way: Way | None, row: Row | None) -> tuple[Frame, ...]:
    """Three pictures of the product (of the class noun, without a row), and two of the class noun alone."""
    teaching = _teaching(studio, Task(product, way or WAYS[1], 0))
    job, concept = teaching.job, None
    if row is not None:
        told = (job.placeholder_token, job.class_noun)
        concept = Concept(product, job.method, row["path"], row["sha256"], *told)
    word = subject(job.placeholder_token, job.class_noun, job.method) if concept else job.class_noun
    shown = teaching.draw(SHOWN.format(word), training_job.seeds_for("sheet", "", 3), concept)
    noun = f"a photo of a {job.class_noun}"
    others = teaching.draw(noun, training_job.seeds_for("sheet others", "", 2), concept)
    labels = ["the product" if concept else job.class_noun] * 3 + [job.class_noun] * 2
    pictures = [*pixels_to_pil(shown), *pixels_to_pil(others)]
    return tuple(Frame(_png(picture), label) for picture, label in zip(pictures, labels, strict=True))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def _sheet(studio: Studio, product: str, ways: Sequence[Way], rows: Rows, path: Path) -> None:
    real = tuple(Frame(file.read_bytes(), f"photo {number}") for number, file in enumerate(files_of(product), 1))
    strips = [
        Strip("Photos", f"what was learned from: a {PRODUCTS[product]}", (), real),
        Strip("Before", SHOWN.format(PRODUCTS[product]), (), _draw(studio, product, None, None)),
    ]
    for way in ways:
        row = rows[product, way.name][0]
        facts = (f"{row['steps']} steps, {row['seconds']:.0f} s", *(f"{c} {row['scores'][c]:.3f}" for c in COLUMNS))
        strips.append(Strip(way.name, "seed 0; right: the class noun alone", facts, _draw(studio, product, way, row)))
    path.write_bytes(contact_sheet("Products", f"{product}: {PRODUCTS[product]}", strips, across=5))


def _page(
    studio: Studio,
    untaught: Mapping[str, Mapping[str, float]],
    ways: Sequence[Way],
    rows: Rows,
    judged: Sequence[Claim],
) -> str:
    used = next(used for used in studio.recipe.models if used.role == "diffusion")
    lines = [
        "# Products: what each way of learning reaches",
        "",
        "Made by `python -m benchmarks.product_learning`. Figures are means over the seeds, with standard deviations",
        "where there are several. fidelity: CLIP-I on background-masked crops against the photos (higher is better).",
        "prompt: CLIP-T (higher). prior: PRES, likeness of pictures of the class noun alone to the product (lower).",
        "prior_diversity: DIV of the class, mean CLIP distance between those pictures on the same crops (higher).",
        "diversity: DIV, mean CLIP distance between pictures of the product under one prompt (higher); of the photos:",
        "between them. The embeddings are the demo family's own small CLIP's: compare rows of this table with each",
        "other, not with figures from elsewhere. What moves both kinds of diversity in the demo family is told in",
        "[decision 0014](decisions/0014-prior-preservation-is-measured-on-the-class.md).",
        "",
        f"Model {used.id} {used.revision}, device {studio.device}, {time.strftime('%Y-%m-%d')}.",
        "",
        "## What the figures show",
        "",
        "| product | claim | figures | |",
        "|---|---|---|---|",
        *(f"| {c.product} | {c.text} | {c.figures} | {'held' if c.held else '**not held**'} |" for c in judged),
    ]
    for product, scores in untaught.items():
        variety = fidelity.diversity(studio.reranker, [_pixels(studio, product)])
        lines += [
            "",
            f"## {product}: {PRODUCTS[product]}",
            "",
            f"| way | seeds | steps | seconds | {' | '.join(COLUMNS)} |",
            f"|---|---|---|---|{'---|' * len(COLUMNS)}",
            f"| the photos themselves | | | |{' |' * (len(COLUMNS) - 1)} {variety:.3f} |",
            f"| untaught model | | | | {' | '.join(f'{scores[column]:.3f}' for column in COLUMNS)} |",
        ]
        lines += [_line(way, rows[product, way.name]) for way in ways]
        lines += ["", f"![contact sheet of {product}](products-{product}.png)"]
    return "\n".join(lines) + "\n"


def _line(way: Way, runs: Sequence[Row]) -> str:
    cells = [_spread([run["scores"][column] for run in runs]) for column in COLUMNS]
    seconds = mean(run["seconds"] for run in runs)
    return f"| {way.name} | {len(runs)} | {runs[0]['steps']} | {seconds:.0f} | {' | '.join(cells)} |"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ±{stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
