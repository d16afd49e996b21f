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
from typing import TypeVar

import structlog
from pydantic import ValidationError

from models.errors import CreativesError
from schemas.base import Contract
from streams.failures import OUTAGES, DeadLetterFailed, InvalidEvent, UnreadableRecord, Verdict, code_of, judge
from streams.messages import Outcome, OutcomePublisher, RawEvent
from streams.settings import DeliverySettings

log = structlog.get_logger(__name__)
Event = TypeVar("Event", bound=Contract)


class Settled(Enum):
    """How an event ended. DONE, PARKED and BURIED are terminal and may be acked; the others must not be."""

    DONE = "done"
    PARKED = "parked"
    DEAD_LETTERED = "buried"
    DROPPED = "dropped"
    FATAL = "dead"

    @property
    def terminal(self) -> bool:
        """Return whether the event may be acked."""
        return self in {Settled.DONE, Settled.PARKED, Settled.DEAD_LETTERED}


Attempt = Callable[[RawEvent], Awaitable[Outcome | None]]
"""Parse and handle an event; the outcome to publish, or None when it was parked."""


def decode(raw: RawEvent, model: type[Event], max_bytes: int) -> Event:
    """Return the event, or raise InvalidEvent naming field and rule. Never raises anything else."""
    if raw.unreadable is not None:
        raise UnreadableRecord(reason=raw.unreadable)
    if raw.value is None:
        raise InvalidEvent(field="value", rule="must not be null (a tombstone is no event)")
    if len(raw.value) > max_bytes:
        raise InvalidEvent(field="value", rule=f"{len(raw.value)} bytes are more than the {max_bytes} allowed")
    try:
        return model.model_validate_json(raw.value)
    except ValidationError as error:
        raise _unreadable(raw.value) or _invalid(error) from None


def _unreadable(value: bytes) -> InvalidEvent | None:
    """Say why bytes are no JSON object; None where they are one."""
    try:
        fields = json.loads(value.decode("utf-8"), parse_constant=_no_such_number)
    except UnicodeDecodeError as error:
        return InvalidEvent(field="value", rule=f"is not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return InvalidEvent(field="value", rule=f"is not JSON: {error}")
    return None if isinstance(fields, dict) else InvalidEvent(field="value", rule="must be a JSON object")


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
class DeadLetterLimit:
    """How many dead letters a worker may write in a while: an outage must not empty a topic into them.

    The idea is Sentry's (arroyo, `DlqLimit`): past the limit something is wrong with us, not with the events.
    """

    dead_letter_limit: int
    window: float
    _times: deque[float] = field(default_factory=deque)

    def allows(self, now: float) -> bool:
        """Count one more dead letter at `now` (seconds, any monotonic clock); False when it is one too many."""
        while self._times and self._times[0] <= now - self.window:
            self._times.popleft()
        if len(self._times) >= self.dead_letter_limit:
            return False
        self._times.append(now)
        return True


def backoff(attempt: int, settings: DeliverySettings) -> float:
    """Return the seconds before the next attempt: doubling, capped, with half of it jitter."""
    full = min(settings.backoff_cap, settings.backoff * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True)
class _Letter:
    """What a dead letter says. attempts: at delivering the event."""

    attempts: int
    code: str
    message: str


@dataclass
class _Case:
    """An event on its way to its end. letter: its dead letter, None while it may still be delivered.

    attempts, failures: of the present step, delivering or burying; failures leave out what an outage explains.
    """

    raw: RawEvent
    attempt: Attempt
    letter: _Letter | None = None
    attempts: int = 0
    failures: int = 0

    def dead_letter(self, reason: Exception) -> None:
        """Go over to burying."""
        self.letter = _Letter(self.attempts, code_of(reason), _message(reason))
        self.attempts = self.failures = 0


class Delivery:
    """Settles events. die: called with the reason when the worker must not go on."""

    def __init__(
        self, publisher: OutcomePublisher, settings: DeliverySettings, die: Callable[[Exception], None]
    ) -> None:
        self._publisher = publisher
        self._settings = settings
        self._die = die
        self._limit = DeadLetterLimit(settings.dead_letter_limit, settings.dead_letter_window)

    async def settle(self, raw: RawEvent, attempt: Attempt) -> Settled:
        """Bring one event to its end. Raises nothing but CancelledError, which leaves the event unacked."""
        case = _Case(raw, attempt)
        while True:
            case.attempts += 1
            try:
                return await (self._deliver(case) if case.letter is None else self._dead_letter(raw, case.letter))
            except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a verdict
                verdict = self._judged(case, error)
            if verdict is Verdict.RETRY:
                await asyncio.sleep(backoff(case.attempts, self._settings))
            elif verdict is not Verdict.DEAD_LETTER:
                return Settled.DROPPED if verdict is Verdict.DROP else Settled.FATAL

    async def _deliver(self, case: _Case) -> Settled:
        outcome = await case.attempt(case.raw)
        if outcome is None:
            return Settled.PARKED
        await self._publisher.publish(outcome)
        return Settled.DONE

    async def _dead_letter(self, raw: RawEvent, letter: _Letter) -> Settled:
        await self._publisher.dead_letter(raw, letter.attempts, letter.code, letter.message)
        return Settled.DEAD_LETTERED

    def _judged(self, case: _Case, error: Exception) -> Verdict:
        """Return what the failure of a step means, and prepare the next: after BURY the next step buries.

        Outages do not count: an event that waited out a long one has all its attempts left for what comes after.
        """
        case.failures += not isinstance(error, OUTAGES)
        verdict = judge(error, case.failures, self._settings.attempts)
        if verdict is Verdict.DEAD_LETTER and (obstacle := self._obstacle(case)):
            place = case.raw.source.model_dump()
            verdict, error = Verdict.DIE, DeadLetterFailed(**place, detail=f"{obstacle}{_message(error)}")
        said = {"verdict": verdict.value, "attempts": case.attempts, "error": _message(error)}
        log.warning(
            "event failed" if case.letter is None else "dead letter failed", **said, **case.raw.source.model_dump()
        )
        if verdict is Verdict.DEAD_LETTER:
            case.dead_letter(error)
        if verdict is Verdict.DIE:
            self._die(error)
        return verdict

    def _obstacle(self, case: _Case) -> str:
        """Return why the event cannot be buried: its letter fails, or there have been too many; else nothing."""
        if case.letter is not None:
            return "every attempt fails: "
        if self._limit.allows(asyncio.get_running_loop().time()):
            return ""
        limit, window = self._settings.dead_letter_limit, self._settings.dead_letter_window
        return f"more than {limit} dead letters in {window:g} s; the last one: "


def _message(error: Exception) -> str:
    """Return one line that names the error, at most 500 characters."""
    text = str(error) if isinstance(error, CreativesError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
