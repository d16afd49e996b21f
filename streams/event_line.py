"""The one line that the log gets for each event: outcome, ids, seconds per stage, and where everything is.

`streams.kafka.delivery` opens a line for each event and writes it at the end. Handlers add what only they know with
`note` and `timed`. Outside an event both do nothing, so handlers also run without a log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import structlog

from schemas.events import Source
from streams.messages import Outcome

log = structlog.get_logger(__name__)

_LONGEST = 300  # characters of a rejection's reason
_MESSAGES = {
    "creative_ready": "pictures ready",
    "product_ready": "product trained",
    "creative_rejected": "rejected",
}


@dataclass
class EventLine:
    """The line of one event. fields: as noted, in order. seconds: wall time by stage, in the order of their ends."""

    source: Source
    started_at: float = field(default_factory=time.monotonic)
    fields: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def write_outcome(self, outcome: Outcome) -> None:
        """Write the line of a published outcome."""
        if outcome.topic == "creative_rejected":
            rejection = json.loads(outcome.value)
            self.fields |= {"code": rejection["code"], "reason": rejection["reason"][:_LONGEST]}
        self._write(_MESSAGES[outcome.topic])

    def write_parked(self) -> None:
        """Write the line of a segment that waits for its product."""
        self._write("segment parked until its product is trained")

    def write_dead_letter(self, attempts: int, code: str, message: str) -> None:
        """Write the line of an event that is in the dead-letter topic now."""
        self.fields |= {"attempts": attempts, "code": code, "reason": message}
        self._write("dead letter written")

    def _write(self, message: str) -> None:
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        seconds["total"] = round(time.monotonic() - self.started_at, 3)
        log.info(message, **(self.fields | self.source.model_dump() | {"seconds": seconds}))


_current: ContextVar[EventLine | None] = ContextVar("event_line", default=None)


@contextmanager
def event_line(source: Source) -> Iterator[EventLine]:
    """Open the line of the event that this task handles."""
    line = EventLine(source)
    token = _current.set(line)
    try:
        yield line
    finally:
        _current.reset(token)


def note(**fields: Any) -> None:
    """Add fields to the line of the current event; None is left out."""
    line = _current.get()
    if line is not None:
        line.fields |= {name: value for name, value in fields.items() if value is not None}


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the seconds that the block takes to a stage of the current event."""
    start = time.monotonic()
    try:
        yield
    finally:
        add_seconds({stage: time.monotonic() - start})


def add_seconds(seconds: dict[str, float]) -> None:
    """Add seconds by stage to the line of the current event."""
    line = _current.get()
    if line is not None:
        for stage, value in seconds.items():
            line.seconds[stage] = line.seconds.get(stage, 0.0) + value
