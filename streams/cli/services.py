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
  kcat -b "$CREATIVES_KAFKA__BOOTSTRAP_SERVERS" -L  list the topics with another client

Both services lose their data when the command stops. To keep data, run `docker compose up` or your own Kafka and
MinIO.

\b
Exit codes:
  0 stopped with Ctrl-C or SIGTERM
  1 a service could not start
  2 wrong option or setting
""",
)
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the addresses as NAME=value lines once both services answer; the command deletes the file at exit.",
)
def services(env_file: Path | None) -> None:
    """Run the embedded broker and object store in the foreground, with topics and bucket, for any client."""
    from streams.cli.embedded_services import connection_variables, start_services, write_env_file
    from streams.cli.terminal import read_settings

    settings = read_settings()
    if env_file is not None:
        env_file.unlink(missing_ok=True)  # scripts wait for this file; an old one would start them too early
    stop = _stop_event()
    running, reachable = start_services(settings)
    with running:
        if env_file is not None:
            write_env_file(env_file, connection_variables(reachable))
        click.echo(f"broker  {reachable.kafka.bootstrap_servers}")
        click.echo(f"store   {reachable.storage.endpoint}, bucket {reachable.storage.bucket}")
        click.echo(f"env     {env_file or 'not written (use --env-file FILE)'}")
        click.echo("Press Ctrl-C to stop both and delete their data.")
        sys.stdout.flush()
        stop.wait()
        if env_file is not None:
            env_file.unlink(missing_ok=True)
    click.echo("stopped")


def _stop_event() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, so that the command shuts down cleanly after both."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
