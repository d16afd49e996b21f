"""One event to its one terminal outcome: parse, attempt, retry, bury.

At least once, with deterministic ids and idempotent sinks, comes to effectively once. `settle` never raises:
whatever happens ends in a confirmed outcome, a confirmed dead letter, or an event left unacked for the next owner.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar

import structlog
from pydantic import ValidationError

from models.errors import CreativesError
from schemas.events import Contract
from streams.failures import CannotBury, InvalidEvent, Verdict, code_of, judge
from streams.messages import Outcome, RawEvent
from streams.settings import DeliverySettings

log = structlog.get_logger(__name__)
Event = TypeVar("Event", bound=Contract)


class Settled(Enum):
    """How an event ended. DONE, PARKED and BURIED are terminal and may be acked; the others must not be."""

    DONE = "done"
    PARKED = "parked"
    BURIED = "buried"
    DROPPED = "dropped"
    DEAD = "dead"

    @property
    def terminal(self) -> bool:
        """Return whether the event may be acked."""
        return self in {Settled.DONE, Settled.PARKED, Settled.BURIED}


class Publishes(Protocol):
    """What delivery needs of the publisher. Both return only once the broker has confirmed."""

    async def publish(self, outcome: Outcome) -> None:
        """Publish an outcome."""

    async def bury(self, raw: RawEvent, attempts: int, code: str, message: str) -> None:
        """Write the dead letter of an event."""


Attempt = Callable[[RawEvent], Awaitable[Outcome | None]]
"""Parse and handle an event; the outcome to publish, or None when it was parked."""


def decode(raw: RawEvent, model: type[Event], max_bytes: int) -> Event:
    """Return the event, or raise InvalidEvent naming field and rule. Never raises anything else."""
    if raw.value is None:
        raise InvalidEvent(field="value", rule="must not be null (a tombstone is no event)")
    if len(raw.value) > max_bytes:
        raise InvalidEvent(field="value", rule=f"{len(raw.value)} bytes are more than the {max_bytes} allowed")
    try:
        text = raw.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEvent(field="value", rule=f"is not UTF-8 at byte {error.start}") from None
    try:
        fields = json.loads(text, parse_constant=_no_such_number)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(field="value", rule=f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidEvent(field="value", rule="must be a JSON object")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise _invalid(error) from None


def _no_such_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _invalid(error: ValidationError) -> InvalidEvent:
    """Name the first broken field and its rule; say how many more there are."""
    first, *others = faults(error)
    more = f" (and {len(others)} more)" if others else ""
    return InvalidEvent(field=first.fields["field"], rule=f"{first.fields['rule']}{more}")


def faults(error: ValidationError) -> list[InvalidEvent]:
    """Return every broken field with its rule, at least one."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    places = [".".join(str(part) for part in problem["loc"]) or "value" for problem in problems]
    return [
        InvalidEvent(field=place[:200], rule=problem["msg"].removeprefix("Value error, "))
        for place, problem in zip(places, problems, strict=True)
    ]


@dataclass
class BuryLimit:
    """How many dead letters a worker may write in a while: an outage must not empty a topic into them.

    The idea is Sentry's (arroyo, `DlqLimit`): past the limit something is wrong with us, not with the events.
    """

    buries: int
    window: float
    _times: deque[float] = field(default_factory=deque)

    def allows(self, now: float) -> bool:
        """Count one more dead letter at `now` (seconds, any monotonic clock); False when it is one too many."""
        while self._times and self._times[0] <= now - self.window:
            self._times.popleft()
        if len(self._times) >= self.buries:
            return False
        self._times.append(now)
        return True


def backoff(attempt: int, settings: DeliverySettings) -> float:
    """Return the seconds before the next attempt: doubling, capped, with half of it jitter."""
    full = min(settings.backoff_cap, settings.backoff * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret


class Delivery:
    """Settles events. die: called once with the reason when the worker must not go on."""

    def __init__(self, publisher: Publishes, settings: DeliverySettings, die: Callable[[Exception], None]) -> None:
        self._publisher = publisher
        self._settings = settings
        self._die = die
        self._limit = BuryLimit(settings.buries, settings.bury_window)
        self._dying = False

    async def settle(self, raw: RawEvent, attempt: Attempt) -> Settled:
        """Bring one event to its end. Raises nothing but CancelledError, which leaves the event unacked."""
        attempts = 0
        place = raw.source.model_dump()
        while True:
            attempts += 1
            try:
                outcome = await attempt(raw)
                if outcome is None:
                    return Settled.PARKED
                await self._publisher.publish(outcome)
            except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a verdict
                verdict = judge(error, attempts, self._settings.attempts)
                log.warning("event failed", verdict=verdict.value, attempts=attempts, error=_message(error), **place)
                if verdict is Verdict.BURY:
                    return await self._bury(raw, attempts, error)
                if verdict is Verdict.DROP:
                    return Settled.DROPPED
                if verdict is Verdict.DIE:
                    return self._end(error)
                await asyncio.sleep(backoff(attempts, self._settings))
            else:
                return Settled.DONE

    async def _bury(self, raw: RawEvent, attempts: int, error: Exception) -> Settled:
        """Write the dead letter, for as long as it takes: an event that is not yet buried is not yet settled."""
        if not self._limit.allows(asyncio.get_running_loop().time()):
            limit = f"more than {self._settings.buries} dead letters in {self._settings.bury_window:g} s"
            return self._end(CannotBury(**raw.source.model_dump(), detail=f"{limit}; the last one: {_message(error)}"))
        tries = 0
        while True:
            tries += 1
            try:
                await self._publisher.bury(raw, attempts, code_of(error), _message(error))
            except CreativesError as trouble:
                verdict = judge(trouble, tries, self._settings.attempts)
                log.warning("dead letter failed", verdict=verdict.value, error=_message(trouble))
                if verdict is not Verdict.RETRY:
                    return self._end(CannotBury(**raw.source.model_dump(), detail=_message(trouble)))
                await asyncio.sleep(backoff(tries, self._settings))
            else:
                return Settled.BURIED

    def _end(self, error: Exception) -> Settled:
        """Say once why the worker must not go on: a second exit would break into the shutdown that the first began."""
        if not self._dying:
            self._dying = True
            self._die(error)
        return Settled.DEAD


def _message(error: Exception) -> str:
    """Return one line that names the error, at most 500 characters."""
    text = str(error) if isinstance(error, CreativesError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
