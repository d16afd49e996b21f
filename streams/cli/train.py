"""`creatives train`: train the model on a few photos of a product, without Kafka."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

METHODS = ("dreambooth", "dreambooth_lora", "textual_inversion")
WITH_PRIOR = ("dreambooth", "dreambooth_lora")
METHODS_OF_OPTION = {
    "prior_loss_weight": WITH_PRIOR,
    "class_images": WITH_PRIOR,
    "rank": ("dreambooth_lora",),
    "train_text_encoder": ("dreambooth",),
    "vectors": ("textual_inversion",),
}


@click.command(
    short_help="Train the model on photos of a product, without Kafka.",
    epilog="""\b
Examples:
  creatives train docs/examples/products/jam/*.png --product dzem-malina --class-noun "jar of jam"
  creatives train photos/*.jpg --product mleko-laka --class-noun "carton of milk" --method textual_inversion

If you stop the command and run it again with the same options, it continues from its last checkpoint. Options
without a default take the setting of the method, else the default of the model family.

\b
Exit codes:
  0   the trained product is in the folder
  1   the photos, weights or device cannot be used, or the training failed; the last line gives the reason
  2   wrong option or setting
  130 stopped with Ctrl-C
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--product", required=True, help="Id of the product: letters, digits, '.', '_', ':', '-'.")
@click.option("--class-noun", required=True, help='Kind of product, such as "jar of jam".')
@click.option("--method", type=click.Choice(METHODS), default="dreambooth", show_default=True)
@click.option("--steps", type=click.IntRange(1, 100_000), help="Training steps.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Learning rate of the optimizer.")
@click.option("--batch", type=click.IntRange(1, 64), help="Photos per step.")
@click.option("--prior-loss-weight", type=click.FloatRange(0), help="0: no class images (both DreamBooths).")
@click.option("--class-images", type=click.IntRange(1, 10_000), help="Pictures of the class (both DreamBooths).")
@click.option("--rank", type=click.IntRange(1, 1024), help="Rank of the adapters (dreambooth_lora).")
@click.option("--vectors", type=click.IntRange(1, 32), help="Vectors per placeholder token (textual_inversion).")
@click.option("--snr-gamma", type=click.FloatRange(0), help="min-SNR loss weighting; 5 is usual, 0 turns it off.")
@click.option("--early-stopping/--no-early-stopping", default=None, help="Stop once the deterministic loss settles.")
@click.option(
    "--train-text-encoder/--no-train-text-encoder", default=None, help="Train the text encoder too (dreambooth)."
)
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: products/<ID>]")
def train(files: tuple[Path, ...], out: Path | None, product: str, **options: Any) -> None:
    """Train the model on FILES, 3 to 30 photos of one product.

    Writes the concept (a file that stock diffusers loads), a before/after contact sheet, a plot of the loss, and
    scores.
    """
    from streams.cli.local_training import train_locally
    from streams.cli.terminal import require_writable
    from streams.cli.training_folder import product_folder, write_training_job

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", product) or ".." in product:
        raise click.BadParameter("use letters, digits, '.', '_', ':' and '-'", param_hint="--product")
    _check_options(options)
    folder = out or product_folder(product)
    require_writable(folder)
    photos = tuple(path.read_bytes() for path in files)
    train_locally(write_training_job(folder, photos, _job_fields(product, options)), folder)


def _check_options(options: dict[str, Any]) -> None:
    """Reject an option of another method: it would have no effect."""
    method = options["method"]
    for name, methods in METHODS_OF_OPTION.items():
        if options[name] is not None and method not in methods:
            raise click.UsageError(f"--{name.replace('_', '-')} is for {' and '.join(methods)}, not for {method}.")


def _job_fields(product: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the training job: the options, and the settings for options that were not given."""
    from models.subjects import placeholder
    from streams.cli.terminal import read_settings

    training = read_settings().training
    defaults = {
        "product_id": product,
        "placeholder_token": placeholder(product, options["method"]),
        "checkpoint_every": training.checkpoint_every,
        "checkpoint_seconds": training.checkpoint_seconds,
        **training.method_settings(options["method"]).model_dump(exclude_none=True),
    }
    return defaults | {name: value for name, value in options.items() if value is not None}
