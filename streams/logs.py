"""Logging: structlog in front, the standard library's behind, one form for ours and for Faust's lines."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from streams.settings import LogSettings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_TALKATIVE = ("faust", "mode", "aiokafka", "kafka", "werkzeug", "asyncio")
_INDISCREET = ("urllib3", "httpx", "httpcore", "botocore")  # their warnings and below name URLs, signed ones too


def configure(settings: LogSettings) -> None:
    """Send every line to stderr, in the form and from the level set; libraries speak from `warn` up, or not of URLs."""
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer: Processor = structlog.processors.JSONRenderer() if settings.form == "json" else console
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    final: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        renderer,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[settings.level])
    quiet = max(_LEVELS[settings.level], logging.WARNING) if settings.level != "debug" else logging.DEBUG
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(quiet)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.ERROR)
