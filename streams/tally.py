"""What this worker has done so far: counts for the metrics, the latest creatives for the gallery."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import structlog
from pydantic import ValidationError

from schemas.events import CreativeReady
from streams.messages import Outcome, RawEvent

log = structlog.get_logger(__name__)
_LATEST = 60


class Publishes(Protocol):
    """Publishing as delivery knows it."""

    async def publish(self, outcome: Outcome) -> None:
        """Publish an outcome."""

    async def bury(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Write the dead letter of an event."""


class Tally:
    """Publishes through another publisher, and counts what the broker has confirmed."""

    def __init__(self, publisher: Publishes) -> None:
        self._publisher = publisher
        self.outcomes: dict[str, int] = {}  # no Counter: dataclasses.asdict takes its pairs for what it should count
        self.dead_letters: dict[str, int] = {}
        self.latest: deque[CreativeReady] = deque(maxlen=_LATEST)

    async def publish(self, outcome: Outcome) -> None:
        """Publish, then count; a repeat of a creative is shown once."""
        await self._publisher.publish(outcome)
        self.outcomes[outcome.topic] = self.outcomes.get(outcome.topic, 0) + 1
        if outcome.topic == "creative_ready":
            self._show(outcome)

    async def bury(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Bury, then count by code."""
        await self._publisher.bury(raw, attempts, code, message)
        self.dead_letters[code] = self.dead_letters.get(code, 0) + 1

    def _show(self, outcome: Outcome) -> None:
        """Keep a creative for the gallery; one it cannot read, of another version, has been delivered all the same."""
        try:
            ready = CreativeReady.model_validate_json(outcome.value)
        except ValidationError as error:
            log.warning("a creative is not shown", reason=error.errors(include_input=False)[0]["msg"])
            return
        if all(ready.request_id != other.request_id for other in self.latest):
            self.latest.appendleft(ready)
