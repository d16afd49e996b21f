"""`creatives worker`: consume events and make pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.settings import Role


@click.command(
    short_help="Consume events and make pictures.",
    epilog="""\b
Examples:
  creatives worker                                  with an embedded broker and store, for trying things out
  set -a; . ./services.env; creatives worker        with those of `creatives services`, or any real ones
  CREATIVES_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 CREATIVES_STORAGE__ENDPOINT=https://minio:9000 \\
    CREATIVES_STORAGE__ACCESS_KEY=... CREATIVES_STORAGE__SECRET_KEY=... creatives worker --role render

Workers of one role share the partitions of its topics; start as many as there are partitions. SIGTERM and Ctrl-C
finish what has begun, within CREATIVES_DELIVERY__DRAIN seconds. docs/settings.md has every setting.
""",
)
@click.option(
    "--role",
    type=click.Choice(["render", "train", "all"]),
    help="Segments, products, or both.  [default: CREATIVES_ROLE, else all]",
)
@click.pass_context
def worker(context: click.Context, role: Role | None) -> None:
    """Take segments and products from Kafka, store pictures and concepts, publish what came of them."""
    from streams.cli.terminal import read_settings
    from streams.cli.worker_process import run

    settings = read_settings()
    debug = bool(context.find_root().params.get("debug"))
    run(settings.model_copy(update={"role": role} if role else {}), debug=debug)
