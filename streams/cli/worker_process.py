"""A worker in the foreground: the Faust app, with our logging and our last words."""

from __future__ import annotations

import shlex

import faust
import structlog

from streams import logs
from streams.app import create_app
from streams.cli.embedded_services import environment
from streams.embedded import embedded
from streams.kafka.topics import expected_topics
from streams.settings import Settings

log = structlog.get_logger(__name__)


def run(settings: Settings, *, debug: bool = False) -> None:
    """Run a worker until a signal ends it; what the settings call `embedded` runs inside. Raises SystemExit."""
    if debug:
        settings = settings.model_copy(update={"log": settings.log.model_copy(update={"level": "debug"})})
    logs.configure(settings.log)
    with embedded(settings, {spec.name: spec.partitions for spec in expected_topics(settings)}) as found:
        if found != settings:
            _say_where(found)
        worker = faust.Worker(
            create_app(found), quiet=True, redirect_stdouts=False, override_logging=False, loglevel=settings.log.level
        )
        worker.spinner = None  # it would write to stdout, terminal or not
        worker.execute_from_commandline()


def _say_where(settings: Settings) -> None:
    """Embedded services are of no use to a user who cannot reach them."""
    variables = environment(settings)
    shown = ("CREATIVES_KAFKA__BOOTSTRAP_SERVERS", "CREATIVES_STORAGE__ENDPOINT")
    words = " ".join(f"{name}={shlex.quote(variables[name])}" for name in shown)
    log.info("embedded services, gone when this worker ends", export=words)
