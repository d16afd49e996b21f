"""Commands about products, without Kafka: train, evaluate."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from models.briefs import TrainingJob
    from streams.cli.local_training import Taught

METHODS = ("dreambooth", "dreambooth_lora", "textual_inversion")
WITH_PRIOR = ("dreambooth", "dreambooth_lora")
ONLY_OF = {
    "prior_loss_weight": WITH_PRIOR,
    "class_images": WITH_PRIOR,
    "rank": ("dreambooth_lora",),
    "train_text_encoder": ("dreambooth",),
    "vectors": ("textual_inversion",),
}
HOME = Path("products")


@click.command(
    short_help="Learn a product from a few photos, without Kafka.",
    epilog="""\b
Examples:
  creatives train docs/examples/products/jam/*.png --product dzem-malina --class-noun "jar of jam"
  creatives train photos/*.jpg --product mleko-laka --class-noun "carton of milk" --method textual_inversion

Stopped and started again with the same words, it goes on from its last checkpoint.
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--product", required=True, help="The product's id: letters, digits, '.', '_', ':', '-'.")
@click.option("--class-noun", required=True, help='What it is, such as "jar of jam".')
@click.option("--method", type=click.Choice(METHODS), default="dreambooth", show_default=True)
@click.option("--steps", type=click.IntRange(1, 100_000), help="Training steps.  [default: the family's own]")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="[default: the family's own]")
@click.option("--batch", type=click.IntRange(1, 64), help="Photos per step.  [default: the family's own]")
@click.option("--prior-loss-weight", type=click.FloatRange(0), help="0: without class images (dreambooth, _lora).")
@click.option("--class-images", type=click.IntRange(1, 10_000), help="Made for the noun (dreambooth, _lora).")
@click.option("--rank", type=click.IntRange(1, 1024), help="Of the adapters (dreambooth_lora).")
@click.option("--vectors", type=click.IntRange(1, 32), help="Of one placeholder token (textual_inversion).")
@click.option("--snr-gamma", type=click.FloatRange(0), help="min-SNR loss weighting; 5 is usual, 0: off.")
@click.option("--early-stopping/--no-early-stopping", default=None, help="Stop once the deterministic loss settles.")
@click.option("--train-text-encoder/--no-train-text-encoder", default=None, help="Unfreeze it too (dreambooth).")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: products/<ID>]")
def train(files: tuple[Path, ...], out: Path | None, product: str, **options: Any) -> None:
    """Learn a product from FILES (3 to 30 photos of it).

    Writes the concept (a file that stock diffusers loads), a before/after contact sheet, a plot of the loss and scores.
    """
    from streams.cli.local_training import training_job_of

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", product) or ".." in product:
        raise click.BadParameter("use letters, digits, '.', '_', ':' and '-'", param_hint="--product")
    _check_options(options)
    folder = out or HOME / product
    photos = tuple(path.read_bytes() for path in files)
    _run(training_job_of(folder, photos, _given(product, options)), folder)


@click.command(
    short_help="Score a product learned by `train` once more.",
    epilog="""\b
Examples:
  creatives evaluate dzem-malina
  creatives evaluate dzem-malina --out elsewhere/dzem-malina
""",
)
@click.argument("product")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Its folder.  [default: products/<ID>]")
def evaluate(product: str, out: Path | None) -> None:
    """Score PRODUCT once more: draw it and its class, compare both with its photos and its prompt.

    Nothing is learned: the concept stays as `train` wrote it, whatever has been set otherwise since.
    """
    from streams.cli.local_training import again, read_training_job

    folder = out or HOME / product
    _run(again(read_training_job(folder)), folder)


def _check_options(options: dict[str, Any]) -> None:
    """Refuse an option that the method does not have: it would do nothing."""
    method = options["method"]
    for name, methods in ONLY_OF.items():
        if options[name] is not None and method not in methods:
            raise click.UsageError(f"--{name.replace('_', '-')} is for {' and '.join(methods)}, not for {method}.")


def _given(product: str, options: dict[str, Any]) -> dict[str, Any]:
    from models.briefs import placeholder
    from streams.cli.terminal import read_settings

    training = read_settings().training
    settled = {
        "product_id": product,
        "placeholder_token": placeholder(product, options["method"]),
        "checkpoint_every": training.checkpoint_every,
        "checkpoint_seconds": training.checkpoint_seconds,
        **training.method_settings(options["method"]).model_dump(exclude_none=True),
    }
    return settled | {name: value for name, value in options.items() if value is not None}


def _run(training_job: TrainingJob, folder: Path) -> None:
    from streams.cli.local_training import teach, write
    from streams.cli.terminal import read_settings

    settings = read_settings()
    try:
        taught = asyncio.run(teach(training_job, settings.studio.plan(), settings.device))
    except KeyboardInterrupt:
        sys.exit(130)
    _show(taught, write(taught, folder))


def _show(taught: Taught, paths: dict[str, Path]) -> None:
    from rich.table import Table

    from streams.cli.local_training import EXPLAINED, before_and_after
    from streams.cli.terminal import out

    table = Table("score", "before", "after", "what it says", header_style="bold", border_style="dim")
    for name, (before, after) in before_and_after(taught.learned.scores).items():
        table.add_row(name, "" if before is None else f"{before:.3f}", f"{after:.3f}", EXPLAINED.get(name, ""))
    out.print(table)
    learned = taught.learned
    click.echo(f"{learned.steps} steps, {learned.device_seconds:.1f} s on {taught.ready.device}")
    for name, path in paths.items():
        click.echo(f"{name}: {path}")
