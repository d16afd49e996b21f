"""`creatives services`: run an embedded broker and object store."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click


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
