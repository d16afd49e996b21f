"""Train on both products by every method and seed; write table, claims and contact sheets to docs/products.md.

    python -m benchmarks.product_training              2 products x 3 seeds x 4 variants, one process per core
    python -m benchmarks.product_training --seeds 1    a first look

The results of finished training jobs and the checkpoints of interrupted ones stay in .cache/products, so the next run
resumes; delete the folder to start from scratch. The exit code is 1 if a claim of the page does not hold.
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
from benchmarks.claims import Claim, check_claims
from benchmarks.training_runs import PRODUCTS, ROOT, VARIANTS, Row, Task, Variant, make_training_job, photo_files
from models.briefs import Concept, StudioPlan
from models.images import pixels_to_pil
from models.learning import fidelity
from models.learning.evaluation import score_concept
from models.learning.method_options import method_options
from models.learning.photos import prepare_photos
from models.learning.training_run import TrainingRun, seeds_for
from models.opening import open_studio
from models.photo_files import PhotoFile, PhotoLimits
from models.stages import ignore_steps
from models.studio import Studio
from streams.cli.contact_sheet import Frame, Strip, contact_sheet

SCENE = "a photo of a {} on a table"
COLUMNS = ("fidelity", "prompt", "prior", "prior_diversity", "diversity")
INTRODUCTION = """\
# How well each training method reproduces a product

`python -m benchmarks.product_training` writes this page. Figures are means over the seeds, with standard deviations if
there are several.

| score | meaning | better |
|---|---|---|
| fidelity | CLIP-I: likeness of pictures to the photos, both cropped to the subject | higher |
| prompt | CLIP-T: likeness of pictures to their prompt | higher |
| prior | PRES: likeness of pictures of the class noun alone to the product, on the same crops | lower |
| prior_diversity | DIV of the class: mean CLIP distance between those pictures, on the same crops | higher |
| diversity | DIV: mean CLIP distance between pictures of the product under one prompt | higher |

The diversity of the photos is the distance between them. The embeddings come from the demo family's small CLIP, so
compare rows of this table with each other, not with figures from elsewhere.
[Decision 0014](decisions/0014-prior-preservation-is-measured-on-the-class.md) explains what changes both kinds of
diversity in the demo family.
"""
Rows = Mapping[tuple[str, str], Sequence[Row]]
"""By product and variant, in the order of the seeds."""


class SilentReporter:
    """A JobReporter that ignores all reports."""

    def progress(self, stage: str, done: int, total: int) -> None: ...
    def report_checkpoint(self, step: int, path: str) -> None: ...


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    names = [variant.name for variant in VARIANTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--products", nargs="+", choices=list(PRODUCTS), default=list(PRODUCTS))
    parser.add_argument("--variants", nargs="+", choices=names, default=names)
    parser.add_argument("--diffusion", default="demo")
    parser.add_argument("--reranking", default="demo")
    parser.add_argument("--upscaling", default="demo")
    parser.add_argument("--steps", type=int, help="training steps; fewer for a trial run")
    parser.add_argument("--workers", type=int, help="processes; default: one per core, or one on CUDA")
    parser.add_argument("--cache", type=Path, default=training_runs.CACHE)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "products.md")
    return parser.parse_args()


def main() -> int:
    """Run the missing training jobs, score them and write the page; return 1 if a claim does not hold."""
    arguments = parse_arguments()
    plan = StudioPlan(arguments.diffusion, arguments.reranking, arguments.upscaling, bucket=4, threads=1)
    studio = open_studio(plan)
    workers = arguments.workers or (os.cpu_count() or 1 if studio.device.type == "cpu" else 1)
    variants = [variant for variant in VARIANTS if variant.name in arguments.variants]
    tasks = training_runs.make_tasks(arguments.products, variants, arguments.seeds, arguments.steps)
    row_by_task = training_runs.run_tasks(plan, studio, tasks, workers, arguments.cache)
    rows: dict[tuple[str, str], list[Row]] = {}
    for task in tasks:
        rows.setdefault((task.product, task.variant.name), []).append(row_by_task[task])
    base = {product: base_scores(studio, product, rows) for product in arguments.products}
    claims = [
        claim
        for product in arguments.products
        for claim in check_claims(product, _scores(product, rows), base[product])
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for product in arguments.products:
        _sheet(studio, product, variants, rows, arguments.out.with_name(f"products-{product}.png"))
    arguments.out.write_text(_page(studio, base, variants, rows, claims), "utf-8")
    print("\n".join(map(str, claims)))
    print(f"see {arguments.out}")
    return 0 if all(claim.holds for claim in claims) else 1


def _scores(product: str, rows: Rows) -> dict[str, list[dict[str, float]]]:
    return {variant: [run["scores"] for run in runs] for (name, variant), runs in rows.items() if name == product}


def base_scores(studio: Studio, product: str, rows: Rows) -> dict[str, float]:
    """Return the base model's scores from one of the product's training jobs, or measure them."""
    for (name, _), runs in rows.items():
        scores = {column: runs[0]["scores"].get(f"{column}_before") for column in COLUMNS}
        if name == product and None not in scores.values():
            return scores
    return score_concept(_training_run(studio, Task(product, VARIANTS[1], 0)), None, _pixels(studio, product))


def _pixels(studio: Studio, product: str) -> Tensor:
    """Return the product's photos as the model receives them, (N,3,S,S) in [0,1]."""
    photos = [PhotoFile.at(path) for path in photo_files(product)]
    return prepare_photos(photos, studio.generator.size, PhotoLimits(), ignore_steps).pixels


def _training_run(studio: Studio, task: Task) -> TrainingRun:
    job = make_training_job(studio, task)
    return TrainingRun(studio, job, SilentReporter(), method_options(job, studio.training))


def _frames(studio: Studio, product: str, variant: Variant | None, row: Row | None) -> tuple[Frame, ...]:
    """Return three pictures of the product and two of the class noun; all of the class noun if there is no row."""
    run = _training_run(studio, Task(product, variant or VARIANTS[1], 0))
    job, concept = run.training_job, None
    if row is not None:
        concept = Concept(product, job.method, row["path"], row["sha256"], job.placeholder_token, job.class_noun)
    word = run.subject() if concept else job.class_noun
    pictures = run.generate(SCENE.format(word), seeds_for("sheet", "", 3), concept)
    class_pictures = run.generate(f"a photo of a {job.class_noun}", seeds_for("sheet others", "", 2), concept)
    labels = ["the product" if concept else job.class_noun] * 3 + [job.class_noun] * 2
    images = [*pixels_to_pil(pictures), *pixels_to_pil(class_pictures)]
    return tuple(Frame(_png(image), label) for image, label in zip(images, labels, strict=True))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def _sheet(studio: Studio, product: str, variants: Sequence[Variant], rows: Rows, path: Path) -> None:
    photos = tuple(Frame(file.read_bytes(), f"photo {number}") for number, file in enumerate(photo_files(product), 1))
    strips = [
        Strip("Photos", f"the training photos of a {PRODUCTS[product]}", (), photos),
        Strip("Before", SCENE.format(PRODUCTS[product]), (), _frames(studio, product, None, None)),
    ]
    for variant in variants:
        row = rows[product, variant.name][0]
        facts = (f"{row['steps']} steps, {row['seconds']:.0f} s", *(f"{c} {row['scores'][c]:.3f}" for c in COLUMNS))
        frames = _frames(studio, product, variant, row)
        strips.append(Strip(variant.name, "seed 0; right: the class noun alone", facts, frames))
    path.write_bytes(contact_sheet("Products", f"{product}: {PRODUCTS[product]}", strips, across=5))


def _page(
    studio: Studio,
    base: Mapping[str, Mapping[str, float]],
    variants: Sequence[Variant],
    rows: Rows,
    claims: Sequence[Claim],
) -> str:
    used = next(used for used in studio.recipe.models if used.role == "diffusion")
    lines = [
        INTRODUCTION,
        f"Model {used.id} {used.revision}, device {studio.device}, {time.strftime('%Y-%m-%d')}.",
        "",
        "## What the figures show",
        "",
        "| product | claim | figures | |",
        "|---|---|---|---|",
        *(f"| {c.product} | {c.text} | {c.figures} | {c.verdict if c.holds else f'**{c.verdict}**'} |" for c in claims),
    ]
    for product, scores in base.items():
        photo_diversity = fidelity.diversity(studio.reranker, [_pixels(studio, product)])
        lines += [
            "",
            f"## {product}: {PRODUCTS[product]}",
            "",
            f"| method | seeds | steps | seconds | {' | '.join(COLUMNS)} |",
            f"|---|---|---|---|{'---|' * len(COLUMNS)}",
            f"| the photos | | | |{' |' * (len(COLUMNS) - 1)} {photo_diversity:.3f} |",
            f"| base model | | | | {' | '.join(f'{scores[column]:.3f}' for column in COLUMNS)} |",
        ]
        lines += [_line(variant, rows[product, variant.name]) for variant in variants]
        lines += ["", f"![contact sheet of {product}](products-{product}.png)"]
    return "\n".join(lines) + "\n"


def _line(variant: Variant, runs: Sequence[Row]) -> str:
    cells = [_mean_and_deviation([run["scores"][column] for run in runs]) for column in COLUMNS]
    seconds = mean(run["seconds"] for run in runs)
    return f"| {variant.name} | {len(runs)} | {runs[0]['steps']} | {seconds:.0f} | {' | '.join(cells)} |"


def _mean_and_deviation(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ±{stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
