"""Counts of published outcomes and dead letters for the metrics, and the latest creatives for the gallery."""

from __future__ import annotations

from functools import lru_cache

import structlog
from pydantic import ValidationError

from schemas.events import CreativeReady
from streams.messages import Outcome, OutcomePublisher, RawEvent

log = structlog.get_logger(__name__)
_LATEST = 60


class CountingPublisher:
    """An `OutcomePublisher` that passes on to another one and counts what the broker confirms.

    outcomes: counts by topic. dead_letters: counts by code. Both are plain dicts, since dataclasses.asdict copies a
    Counter wrongly. parked: segments that wait for a product; the runtime counts them. released: segments sent again
    to their input topic, which are no outcomes.
    """

    def __init__(self, publisher: OutcomePublisher) -> None:
        self._publisher = publisher
        self.outcomes: dict[str, int] = {}
        self.dead_letters: dict[str, int] = {}
        self.parked = 0
        self.released = 0
        self._creatives: dict[bytes, None] = {}  # an ordered set: a repeated creative has the same bytes

    async def publish(self, outcome: Outcome) -> None:
        """Publish, then count. Keep a creative for the gallery; it is parsed only when the page is requested."""
        await self._publisher.publish(outcome)
        if outcome.topic == "segment_updated":
            self.released += 1
            return
        self.outcomes[outcome.topic] = self.outcomes.get(outcome.topic, 0) + 1
        if outcome.topic == "creative_ready":
            self._add_creative(outcome.value)

    async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Write the dead letter, then count it by code."""
        await self._publisher.dead_letter(raw, attempts, code, message)
        self.dead_letters[code] = self.dead_letters.get(code, 0) + 1

    @property
    def latest(self) -> list[CreativeReady]:
        """The latest creatives, newest first. Skips those of another schema version that cannot be parsed."""
        return [ready for value in reversed(self._creatives) if (ready := _parse(value)) is not None]

    def _add_creative(self, value: bytes) -> None:
        self._creatives.setdefault(value)
        if len(self._creatives) > _LATEST:
            del self._creatives[next(iter(self._creatives))]


@lru_cache(maxsize=_LATEST)  # a page and each of its pictures look at all of them
def _parse(value: bytes) -> CreativeReady | None:
    try:
        return CreativeReady.model_validate_json(value)
    except ValidationError as error:
        log.warning("the gallery skips a creative", reason=error.errors(include_input=False)[0]["msg"])
        return None
