"""Logging: structlog over the standard library, one format for our lines and for those of libraries.

Lines contain text from events, photo hosts and objects. On the console they hold no control characters, and a value
with spaces is quoted, so nobody can forge a line or a field, move the cursor or reverse the text. JSON escapes by
itself.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from math import inf

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streams.printable import printable
from streams.settings import LogSettings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_CHATTY = ("faust", "mode", "aiokafka", "kafka", "werkzeug", "asyncio")
_LEAKY = ("urllib3", "httpx", "httpcore", "botocore")  # their warnings contain URLs, signed ones too
_WIRE = "aiokafka.conn"  # its debug lines are whole requests: the SASL password, and every event
_PAUSE = 30.0  # seconds between two lines of the same template by the same library
_MAX_TEMPLATES = 1000  # limits the memory of the filter
_QUOTED = re.compile(r"[ \t\r\n='\"]")  # structlog quotes a value with one of these, and repr escapes the rest
_TRACEBACK = "exception"  # the key under which structlog puts a traceback


class RepeatFilter(logging.Filter):
    """Passes at most one line per `_PAUSE` seconds and template of a library, and adds how many it dropped.

    While a broker is down, aiokafka's clients log thirty lines a second and more. Our own lines always pass, and so do
    lines with a traceback.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[tuple[str, str], tuple[float, int]] = {}  # template -> (time of the last line, dropped since)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line; append the number of dropped lines to its message."""
        if record.name.partition(".")[0] not in _CHATTY or record.exc_info:
            return True
        template, now = (record.name, str(record.msg)), self._clock()
        written_at, dropped = self._last.get(template, (-inf, 0))
        if now - written_at < _PAUSE:
            self._last[template] = written_at, dropped + 1
            return False
        if len(self._last) >= _MAX_TEMPLATES:
            self._last.clear()
        self._last[template] = now, 0
        if dropped:
            record.msg = f"{record.msg} ({dropped} more like it in {now - written_at:.0f} s)"
        return True


def escape_values(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Make foreign text harmless on a console; a processor of structlog. Letters of any language stay readable."""
    for name, value in line.items():
        if name == _TRACEBACK:
            line[name] = "\n".join(f"    {printable(text)}" for text in str(value).splitlines())
        elif name == "event":
            line[name] = printable(str(value))
        elif isinstance(value, str) and not _QUOTED.search(value):
            line[name] = printable(value)
    return line


def configure(settings: LogSettings) -> None:
    """Send every line from the configured level up to stderr, in the configured format.

    Libraries log from `warn` up; those that log URLs only from `error` up. At level `debug` the chatty ones log
    everything but the bytes on the wire, without the filter for repeats.
    """
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)
    rendering: list[Processor] = (
        [structlog.processors.JSONRenderer()] if settings.format == "json" else [escape_values, console]
    )
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
        *rendering,
    ]
    handler = logging.StreamHandler(sys.stderr)
    if settings.level != "debug":
        handler.addFilter(RepeatFilter())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[settings.level])
    quiet = max(_LEVELS[settings.level], logging.WARNING) if settings.level != "debug" else logging.DEBUG
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
    logging.getLogger(_WIRE).setLevel(max(quiet, logging.INFO))
    for name in _LEAKY:
        logging.getLogger(name).setLevel(logging.ERROR)
