"""Commands that run something until it is done or Ctrl-C: worker, services, demo."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.settings import Role


@click.command(
    short_help="Run an embedded broker and object store.",
    epilog="""\b
Examples:
  creatives services --env-file services.env
  set -a; . ./services.env; set +a                  in every other terminal
  kcat -b "$CREATIVES_KAFKA__BOOTSTRAP_SERVERS" -L

Nothing outlives the command: for data that stays use `docker compose up` or real services.
""",
)
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write NAME=value lines that reach them here, once both answer; removed at the end.",
)
def services(env_file: Path | None) -> None:
    """Run the embedded broker and object store in the foreground, with bucket and topics, for any client."""
    from streams.cli.embedded_services import environment, start, write_env_file
    from streams.cli.terminal import read_settings

    settings = read_settings()
    if env_file is not None:
        env_file.unlink(missing_ok=True)  # an old one would look like readiness
    ended = _at_signals()
    running, found = start(settings)
    with running:
        if env_file is not None:
            write_env_file(env_file, environment(found))
        click.echo(f"broker  {found.kafka.bootstrap_servers}")
        click.echo(f"store   {found.storage.endpoint}, bucket {found.storage.bucket}")
        click.echo(f"env     {env_file or 'not written (--env-file FILE)'}")
        click.echo("Ctrl-C ends both and forgets what they hold.")
        sys.stdout.flush()
        ended.wait()
        if env_file is not None:
            env_file.unlink(missing_ok=True)
    click.echo("stopped")


def _at_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, so that both end a command in order."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended


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


@click.command(
    short_help="Three segments in, pictures out; needs nothing else.",
    epilog="""\b
Examples:
  creatives demo
  creatives demo --serve                            then look at the gallery until Ctrl-C
  creatives demo my-segments.jsonl --out mine/
  creatives demo --products                         also learns two products, each by both methods; some ten minutes

Starts an embedded broker and object store and a real worker process, emits the three segments of docs/examples,
and writes events.jsonl, pictures/, contact-sheet.png and index.html. Where the settings name a broker or a store,
those are used instead. `make demo` installs everything first.
""",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-output"), show_default=True)
@click.option("--serve", is_flag=True, help="Keep the worker and the pictures' URLs until Ctrl-C.")
@click.option("--products", is_flag=True, help="Also teach milk and jam by DreamBooth and by Textual Inversion.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds to wait.  [default: 900; 3600 with products]")
def demo(files: tuple[Path, ...], out: Path, serve: bool, products: bool, timeout: float | None) -> None:
    """Show the whole way of an event: from segment-updated to pictures and creative-ready.

    FILES hold segment events of your own, as for `creatives emit`.
    """
    from streams.cli.demo.run import Show, show
    from streams.cli.terminal import read_settings

    show(Show(files, out, serve, products, timeout or (3600.0 if products else 900.0)), read_settings())
