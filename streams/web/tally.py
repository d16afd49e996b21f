"""What this worker has done so far: counts for the metrics, the latest creatives for the gallery."""

from __future__ import annotations

import structlog
from pydantic import ValidationError

from schemas.events import CreativeReady
from streams.messages import Outcome, OutcomePublisher, RawEvent

log = structlog.get_logger(__name__)
_LATEST = 60


class Tally:
    """Publishes through another publisher, and counts what the broker has confirmed."""

    def __init__(self, publisher: OutcomePublisher) -> None:
        self._publisher = publisher
        self.outcomes: dict[str, int] = {}  # no Counter: dataclasses.asdict takes its pairs for what it should count
        self.dead_letters: dict[str, int] = {}
        self._creatives: dict[bytes, None] = {}  # in order; repeats are the same bytes

    async def publish(self, outcome: Outcome) -> None:
        """Publish, then count; keep a creative for the gallery, which reads it when somebody looks."""
        await self._publisher.publish(outcome)
        self.outcomes[outcome.topic] = self.outcomes.get(outcome.topic, 0) + 1
        if outcome.topic == "creative_ready":
            self._show(outcome)

    async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Bury, then count by code."""
        await self._publisher.dead_letter(raw, attempts, code, message)
        self.dead_letters[code] = self.dead_letters.get(code, 0) + 1

    @property
    def latest(self) -> list[CreativeReady]:
        """Return the latest creatives, newest first; one of another version, which cannot be read here, is left out."""
        return [ready for value in reversed(self._creatives) if (ready := _read(value)) is not None]

    def _show(self, outcome: Outcome) -> None:
        self._creatives.setdefault(outcome.value)
        if len(self._creatives) > _LATEST:
            del self._creatives[next(iter(self._creatives))]


def _read(value: bytes) -> CreativeReady | None:
    try:
        return CreativeReady.model_validate_json(value)
    except ValidationError as error:
        log.warning("a creative is not shown", reason=error.errors(include_input=False)[0]["msg"])
        return None
