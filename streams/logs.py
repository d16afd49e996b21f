"""Logging: structlog in front, the standard library's behind, one form for ours and for Faust's lines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from math import inf

import structlog
from structlog.typing import Processor

from streams.settings import LogSettings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_TALKATIVE = ("faust", "mode", "aiokafka", "kafka", "werkzeug", "asyncio")
_INDISCREET = ("urllib3", "httpx", "httpcore", "botocore")  # their warnings and below name URLs, signed ones too
_PAUSE = 30.0  # seconds in which a library says a thing once
_MOST_FORMS = 1000  # of lines remembered, whatever a library may write


class Thinned(logging.Filter):
    """Lets a library's line through, but of those of one form one in `_PAUSE` seconds, with the number left out.

    While a broker is away, aiokafka's clients say so thirty times a second and more. Our own lines all pass, and those
    with a traceback.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # form -> when last, and how many left out since

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written; says in it how many like it were not."""
        if record.name.partition(".")[0] not in _TALKATIVE or record.exc_info:
            return True
        form, now = (record.name, str(record.msg)), self._clock()
        said, left_out = self._said.get(form, (-inf, 0))
        if now - said < _PAUSE:
            self._said[form] = said, left_out + 1
            return False
        if len(self._said) >= _MOST_FORMS:
            self._said.clear()
        self._said[form] = now, 0
        if left_out:
            record.msg = f"{record.msg} ({left_out} more like it in {now - said:.0f} s)"
        return True


def configure(settings: LogSettings) -> None:
    """Send every line to stderr, in the form and from the level set; libraries speak from `warn` up, or not of URLs.

    At debug level they say all they have, and as often as they like.
    """
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer: Processor = structlog.processors.JSONRenderer() if settings.format == "json" else console
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
    if settings.level != "debug":
        handler.addFilter(Thinned())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[settings.level])
    quiet = max(_LEVELS[settings.level], logging.WARNING) if settings.level != "debug" else logging.DEBUG
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(quiet)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.ERROR)
