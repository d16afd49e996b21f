"""Brings one event to its one terminal outcome: attempt, retry, dead-letter.

Delivery is at least once; with deterministic ids and idempotent sinks the result is effectively once. `Delivery.settle`
never raises: an event ends in a confirmed outcome, in a confirmed dead letter, or unacked for the next owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum

import structlog

from models.errors import CreativesError
from streams.delivery_settings import DeliverySettings
from streams.event_line import EventLine, event_line, timed
from streams.failures import BREACHES, OUTAGES, SCRATCH_PROBLEMS, DeadLetterFailed, Verdict, code_of, judge
from streams.kafka.dead_letter_limit import DeadLetterLimit
from streams.kafka.retries import backoff
from streams.messages import Outcome, OutcomePublisher, RawEvent

log = structlog.get_logger(__name__)
_NO_TURNS = nullcontext()


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


@dataclass(frozen=True)
class _Reason:
    """Why an event is dead-lettered. attempts: at its delivery."""

    attempts: int
    code: str
    message: str


@dataclass(eq=False)
class _EventState:
    """An event until it is settled. reason: why it is dead-lettered, None while it may still succeed.

    attempts, failures: of the present step, the delivery or the dead letter. Outages are not counted as failures.
    published: the outcome that the broker has confirmed; only its follow-up is still to do.
    """

    raw: RawEvent
    attempt: Attempt
    line: EventLine
    reason: _Reason | None = None
    attempts: int = 0
    failures: int = 0
    published: Outcome | None = None

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
        self._backing_off: dict[_EventState, Exception] = {}

    @property
    def scratch_problems(self) -> list[str]:
        """The problems of the scratch folder for which events wait at the moment, each once."""
        errors = [error for error in self._backing_off.values() if isinstance(error, SCRATCH_PROBLEMS)]
        return list(dict.fromkeys(_message(error) for error in errors))

    async def settle(
        self, raw: RawEvent, attempt: Attempt, turns: AbstractAsyncContextManager[object] = _NO_TURNS
    ) -> Settlement:
        """Bring one event to its end. Raises nothing but CancelledError, which leaves the event unacked.

        turns: the event takes one per attempt, and holds none while it waits for the next. Events that wait for the
        end of an outage therefore do not keep others from being served.
        """
        with event_line(raw.source) as line:
            state = _EventState(raw, attempt, line)
            while True:
                async with turns:
                    step = await self._take_step(state)
                if isinstance(step, Settlement):
                    return step
                if step is not None:
                    await self._back_off(state, step)

    async def _take_step(self, state: _EventState) -> Settlement | Exception | None:
        """Return how the event ended, the error to back off for, or None if the next step follows at once."""
        state.attempts += 1
        try:
            if state.reason is None:
                return await self._deliver(state)
            return await self._dead_letter(state, state.reason)
        except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a verdict
            match self._decide(state, error):
                case Verdict.RETRY:
                    return error
                case Verdict.DEAD_LETTER:
                    return None
                case verdict:
                    return Settlement.DROPPED if verdict is Verdict.DROP else Settlement.FATAL

    async def _back_off(self, state: _EventState, error: Exception) -> None:
        """Wait before the next attempt, and show in readiness what the event waits for."""
        self._backing_off[state] = error
        try:
            await asyncio.sleep(backoff(state.attempts, self._settings))
        finally:
            del self._backing_off[state]

    async def _deliver(self, state: _EventState) -> Settlement:
        outcome = await state.attempt(state.raw)
        if outcome is None:
            state.line.write_parked()
            settlement = Settlement.PARKED
        else:
            await self._publish(state, outcome)
            settlement = Settlement.DONE
        self._limit.count_served(asyncio.get_running_loop().time())
        return settlement

    async def _publish(self, state: _EventState, outcome: Outcome) -> None:
        """Publish the outcome unless an earlier attempt did, then do what follows it."""
        if outcome != state.published:
            with timed("publish"):
                await self._publisher.publish(outcome)
            state.published = outcome
            state.line.write_outcome(outcome)
        if outcome.follow_up is not None:
            await outcome.follow_up()

    async def _dead_letter(self, state: _EventState, reason: _Reason) -> Settlement:
        await self._publisher.dead_letter(state.raw, reason.attempts, reason.code, reason.message)
        state.line.write_dead_letter(reason.attempts, reason.code, reason.message)
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
            **(state.line.fields | source),
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
