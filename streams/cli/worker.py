"""`creatives worker`: consume events and make pictures."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.settings import Role, Settings


@click.command(
    short_help="Consume events and make pictures.",
    epilog="""\b
Examples:
  creatives worker                                  with an embedded broker and store, to try it out
  set -a; . ./services.env; creatives worker        with the broker and store of `creatives services`
  CREATIVES_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 CREATIVES_STORAGE__ENDPOINT=https://minio:9000 \\
    CREATIVES_STORAGE__ACCESS_KEY=... CREATIVES_STORAGE__SECRET_KEY=... creatives worker --role render

Workers of one role share the partitions of their topics: start at most as many as there are partitions. On SIGTERM
or Ctrl-C a worker finishes its running events within CREATIVES_DELIVERY__DRAIN seconds; another worker takes the
rest. A second signal stops it at once. docs/settings.md lists every setting.

\b
Exit codes:
  0  stopped by a signal
  1  could not start or had to stop; the last log line gives the reason
  2  wrong setting
  75 the main loop was blocked for CREATIVES_DELIVERY__STALL seconds
""",
)
@click.option(
    "--role",
    type=click.Choice(["render", "train", "all"]),
    help="render: segments; train: products; all: both.  [default: CREATIVES_ROLE, else all]",
)
@click.pass_context
def worker(context: click.Context, role: Role | None) -> None:
    """Read segments and products from Kafka, store pictures and trained products, and publish the outcomes."""
    from streams.cli.terminal import read_settings

    settings = read_settings()
    debug = bool(context.find_root().params.get("debug"))
    _run(settings.model_copy(update={"role": role} if role else {}), debug=debug)


def _run(settings: Settings, *, debug: bool) -> None:
    """Run the Faust app until a signal stops it, with embedded services if the settings ask for them.

    Raises SystemExit.
    """
    from streams import logs

    if debug:
        settings = settings.model_copy(update={"log": settings.log.model_copy(update={"level": "debug"})})
    logs.configure(settings.log)
    _require_weights(settings)

    from streams.app import create_app
    from streams.embedded import embedded
    from streams.kafka.topics import expected_topics

    with embedded(settings, {spec.name: spec.partitions for spec in expected_topics(settings)}) as running:
        if running != settings:
            _log_addresses(running)
        worker = create_app(running).Worker(
            quiet=True, redirect_stdouts=False, override_logging=False, loglevel=settings.log.level
        )
        worker.spinner = None  # Faust writes it to stdout even if stdout is not a terminal
        worker.execute_from_commandline()


def _require_weights(settings: Settings) -> None:
    """Exit with code 1 if weights are missing. Called before the slow imports, so that it takes no time to find out."""
    import structlog

    from models.errors import WeightsNotFound
    from models.weights.references import check_references

    try:
        check_references(settings.studio.plan())
    except WeightsNotFound as error:
        structlog.get_logger(__name__).error("cannot start", reason=str(error), code=type(error).__name__)
        raise SystemExit(1) from None


def _log_addresses(settings: Settings) -> None:
    """Log the addresses of embedded services: the user needs them to send events."""
    import structlog

    from streams.cli.embedded_services import connection_variables

    variables = connection_variables(settings)
    shown = ("CREATIVES_KAFKA__BOOTSTRAP_SERVERS", "CREATIVES_STORAGE__ENDPOINT")
    export = " ".join(f"{name}={shlex.quote(variables[name])}" for name in shown)
    structlog.get_logger(__name__).info("embedded services started; they stop with this worker", export=export)
