"""`creatives evaluate`: score a trained product again, without Kafka."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    short_help="Score a product from `creatives train` again.",
    epilog="""\b
Examples:
  creatives evaluate dzem-malina
  creatives evaluate dzem-malina --out elsewhere/dzem-malina

\b
Exit codes:
  0   the new scores are in the folder
  1   the weights or the device cannot be used; the last line gives the reason
  2   the folder holds no trained product, or an option or setting is wrong
  130 stopped with Ctrl-C
""",
)
@click.argument("product")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the product.  [default: products/<ID>]"
)
def evaluate(product: str, out: Path | None) -> None:
    """Score PRODUCT again: draw it and its class, and compare the pictures with its photos and prompt.

    Nothing is trained: the concept stays as `creatives train` wrote it, even if settings have changed since.
    """
    from streams.cli.local_training import train_locally
    from streams.cli.terminal import require_writable
    from streams.cli.training_folder import evaluation_job, product_folder, read_training_job

    folder = out or product_folder(product)
    job = evaluation_job(read_training_job(folder))
    require_writable(folder)
    train_locally(job, folder)
