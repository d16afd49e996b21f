"""Brings one event to its one terminal outcome: attempt, retry, dead-letter.

Delivery is at least once; with deterministic ids and idempotent sinks the result is effectively once. `Delivery.settle`
never raises: an event ends in a confirmed outcome, in a confirmed dead letter, or unacked for the next owner.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

import structlog

from models.errors import CreativesError
from streams.failures import BREACHES, OUTAGES, DeadLetterFailed, Verdict, code_of, judge
from streams.kafka.dead_letter_limit import DeadLetterLimit
from streams.messages import Outcome, OutcomePublisher, RawEvent
from streams.settings import DeliverySettings

log = structlog.get_logger(__name__)


class Settlement(Enum):
    """How the delivery of an event ended. DONE, PARKED and DEAD_LETTERED are terminal; the others leave it unacked."""

    DONE = "done"
    PARKED = "parked"
    DEAD_LETTERED = "dead-lettered"
    DROPPED = "dropped"
    FATAL = "fatal"

    @property
    def terminal(self) -> bool:
        """Return whether the event may be acked."""
        return self in {Settlement.DONE, Settlement.PARKED, Settlement.DEAD_LETTERED}


Attempt = Callable[[RawEvent], Awaitable[Outcome | None]]
"""Parses and handles an event. Returns the outcome to publish, or None if the event was parked."""


def backoff(attempt: int, settings: DeliverySettings) -> float:
    """Return the seconds before the next attempt: doubling, capped, half of it jitter."""
    full = min(settings.backoff_cap, settings.backoff * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True)
class _Reason:
    """Why an event is dead-lettered. attempts: at its delivery."""

    attempts: int
    code: str
    message: str


@dataclass
class _EventState:
    """An event until it is settled. reason: why it is dead-lettered, None while it may still succeed.

    attempts, failures: of the present step, the delivery or the dead letter. Outages are not counted as failures.
    """

    raw: RawEvent
    attempt: Attempt
    reason: _Reason | None = None
    attempts: int = 0
    failures: int = 0

    def start_dead_letter(self, error: Exception) -> None:
        """Move on to the dead letter; its attempts are counted from 0."""
        self.reason = _Reason(self.attempts, code_of(error), _message(error))
        self.attempts = self.failures = 0


class Delivery:
    """Settles events. stop_worker: called with the reason if the worker must not go on."""

    def __init__(
        self, publisher: OutcomePublisher, settings: DeliverySettings, stop_worker: Callable[[Exception], None]
    ) -> None:
        self._publisher = publisher
        self._settings = settings
        self._stop_worker = stop_worker
        self._limit = DeadLetterLimit(
            settings.dead_letter_limit, settings.dead_letter_share, settings.dead_letter_window
        )

    async def settle(self, raw: RawEvent, attempt: Attempt) -> Settlement:
        """Bring one event to its end. Raises nothing but CancelledError, which leaves the event unacked."""
        state = _EventState(raw, attempt)
        while True:
            state.attempts += 1
            try:
                if state.reason is None:
                    return await self._deliver(state)
                return await self._dead_letter(raw, state.reason)
            except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a verdict
                verdict = self._decide(state, error)
            if verdict is Verdict.RETRY:
                await asyncio.sleep(backoff(state.attempts, self._settings))
            elif verdict is not Verdict.DEAD_LETTER:
                return Settlement.DROPPED if verdict is Verdict.DROP else Settlement.FATAL

    async def _deliver(self, state: _EventState) -> Settlement:
        outcome = await state.attempt(state.raw)
        if outcome is not None:
            await self._publisher.publish(outcome)
        self._limit.serve(asyncio.get_running_loop().time())
        return Settlement.PARKED if outcome is None else Settlement.DONE

    async def _dead_letter(self, raw: RawEvent, reason: _Reason) -> Settlement:
        await self._publisher.dead_letter(raw, reason.attempts, reason.code, reason.message)
        return Settlement.DEAD_LETTERED

    def _decide(self, state: _EventState, error: Exception) -> Verdict:
        """Return what to do after a failed step. After DEAD_LETTER, the next step writes the dead letter.

        Outages do not count as failures: after a long one, an event still has all its attempts.
        """
        state.failures += not isinstance(error, OUTAGES)
        verdict = judge(error, state.failures, self._settings.attempts)
        source = state.raw.source.model_dump()
        if verdict is Verdict.DEAD_LETTER and (problem := self._dead_letter_problem(state, error)):
            verdict, error = Verdict.STOP_WORKER, DeadLetterFailed(**source, detail=f"{problem}{_message(error)}")
        log.warning(
            "event failed" if state.reason is None else "dead letter failed",
            verdict=verdict.value,
            attempts=state.attempts,
            error=_message(error),
            **source,
        )
        if verdict is Verdict.DEAD_LETTER:
            state.start_dead_letter(error)
        if verdict is Verdict.STOP_WORKER:
            self._stop_worker(error)
        return verdict

    def _dead_letter_problem(self, state: _EventState, error: Exception) -> str:
        """Return why no dead letter may be written (its attempts failed, or there were too many); empty if one may."""
        if state.reason is not None:
            return "every attempt fails: "
        if isinstance(error, BREACHES) or self._limit.admit(asyncio.get_running_loop().time()):
            return ""
        limit, share, window = self._limit.limit, self._limit.share, self._limit.window
        return f"more than {limit} valid events, and more than {share:.0%} of them, failed in {window:g} s; the last: "


def _message(error: Exception) -> str:
    """Return one line that names the error, at most 500 characters."""
    text = str(error) if isinstance(error, CreativesError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
