import asyncio
import json
from dataclasses import replace

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from models.errors import Cancelled, ScratchDiskUnusable, StageFailed
from schemas.events import Source
from streams.delivery_settings import DeliverySettings
from streams.failures import (
    BrokerUnavailable,
    DeadLetterFailed,
    DeviceProcessDied,
    InvalidEvent,
    MessageRefused,
    OnlyFirst,
    StoreRefused,
    StoreUnavailable,
    UnreadableRecord,
    code_of,
)
from streams.kafka import retries
from streams.kafka.delivery import Delivery, Settlement
from streams.kafka.retries import backoff
from streams.messages import Outcome, RawEvent

FAST = DeliverySettings(backoff=0.0001, backoff_cap=0.0002, attempts=3, dead_letter_limit=3)
OUTCOME = Outcome("creative_ready", b"key", b"value")
EVENT = {
    "event_id": "e-1",
    "occurred_at": "2026-11-23T10:00:00Z",
    "segment_id": "coffee",
    "name": "coffee enthusiast",
    "keywords": [{"term": "espresso", "weight": 0.9}],
}


def raw(value=b"{}", offset=7):
    return RawEvent(Source(topic="segment-updated", partition=1, offset=offset), b"coffee", value)


def event(**changes):
    return raw(json.dumps(EVENT | changes).encode())


class FakePublisher:
    """A publisher that records its calls. Its errors are raised first, one per call."""

    def __init__(self, publish_errors=(), dead_letter_errors=()):
        self.published, self.dead_letters = [], []
        self._publish_errors, self._dead_letter_errors = list(publish_errors), list(dead_letter_errors)

    async def publish(self, outcome):
        if self._publish_errors:
            raise self._publish_errors.pop(0)
        self.published.append(outcome)

    async def dead_letter(self, raw, attempts, code, message):
        if self._dead_letter_errors:
            raise self._dead_letter_errors.pop(0)
        self.dead_letters.append((raw, attempts, code, message))


class Attempts:
    """A handler that raises each of `failures` in turn, then returns `result`."""

    def __init__(self, *failures, result=OUTCOME):
        self.failures, self.result, self.calls = list(failures), result, 0

    async def __call__(self, raw):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.result


def make(publisher, settings=FAST):
    reasons = []
    return Delivery(publisher, settings, OnlyFirst(reasons.append)), reasons


async def test_an_outcome_is_published_once():
    publisher = FakePublisher()
    delivery, reasons = make(publisher)
    assert await delivery.settle(raw(), Attempts()) is Settlement.DONE
    assert publisher.published == [OUTCOME]
    assert publisher.dead_letters == reasons == []


async def test_a_parked_event_publishes_nothing_and_may_be_acked():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    settlement = await delivery.settle(raw(), Attempts(result=None))
    assert settlement is Settlement.PARKED
    assert settlement.terminal
    assert publisher.published == []


async def test_an_outage_is_retried_without_limit_and_never_dead_lettered():
    publisher = FakePublisher(publish_errors=[BrokerUnavailable(servers="s", detail="d")] * 10)
    delivery, _ = make(publisher)
    attempt = Attempts(*[StoreUnavailable(endpoint="e", detail="d"), StoreRefused(endpoint="e", detail="d")] * 10)
    attempt.failures += [ConnectionResetError(), TimeoutError()]
    assert await delivery.settle(raw(), attempt) is Settlement.DONE
    assert attempt.calls == 20 + 2 + 10 + 1
    assert publisher.dead_letters == []


async def test_an_unknown_failure_is_dead_lettered_after_the_attempts():
    publisher = FakePublisher()
    delivery, reasons = make(publisher)
    attempt = Attempts(*[RuntimeError("boom")] * 9)
    assert await delivery.settle(raw(), attempt) is Settlement.DEAD_LETTERED
    assert attempt.calls == FAST.attempts
    ((event, attempts, code, message),) = publisher.dead_letters
    assert (event, attempts, code, message) == (raw(), 3, "runtime_error", "RuntimeError: boom")
    assert reasons == []


async def test_an_outage_uses_up_no_attempt():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    outage = [StoreUnavailable(endpoint="e", detail="d")] * 9
    attempt = Attempts(
        *outage, RuntimeError("passing"), *outage, MessageRefused(topic="t", size=9), RuntimeError("passing")
    )
    assert await delivery.settle(raw(), attempt) is Settlement.DONE
    assert publisher.dead_letters == []


async def test_an_event_that_fails_by_itself_is_dead_lettered_even_in_an_outage():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    outage = StoreUnavailable(endpoint="e", detail="d")
    attempt = Attempts(outage, RuntimeError("1"), outage, RuntimeError("2"), outage, RuntimeError("3"))
    assert await delivery.settle(raw(), attempt) is Settlement.DEAD_LETTERED
    assert publisher.dead_letters[0][1:] == (6, "runtime_error", "RuntimeError: 3")


async def test_one_failure_fewer_than_the_attempts_still_succeeds():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    assert (
        await delivery.settle(raw(), Attempts(*[StageFailed(stage="s", kind="k", detail="d")] * 2)) is Settlement.DONE
    )
    assert publisher.dead_letters == []


async def test_an_invalid_event_is_dead_lettered_at_once():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    attempt = Attempts(InvalidEvent(field="name", rule="must be there"))
    assert await delivery.settle(raw(), attempt) is Settlement.DEAD_LETTERED
    assert attempt.calls == 1
    assert publisher.dead_letters[0][2:] == ("invalid_event", "name: must be there")


async def test_an_event_that_crashes_the_device_is_dead_lettered_at_the_crash_limit():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    crashes = [DeviceProcessDied(how="crashed", request_id="r", crashes=n, limit=5) for n in range(1, 6)]
    attempt = Attempts(*crashes)
    assert await delivery.settle(raw(), attempt) is Settlement.DEAD_LETTERED
    assert attempt.calls == 5, "the limit on crashes counts, not the limit on attempts"
    assert publisher.dead_letters[0][2] == "device_process_died"


async def test_a_cancelled_event_is_dropped_unacked():
    publisher = FakePublisher()
    delivery, _ = make(publisher)
    settlement = await delivery.settle(raw(), Attempts(Cancelled()))
    assert settlement is Settlement.DROPPED
    assert not settlement.terminal
    assert publisher.published == publisher.dead_letters == []


async def test_a_dead_letter_waits_for_the_broker():
    publisher = FakePublisher(dead_letter_errors=[BrokerUnavailable(servers="s", detail="d")] * 12)
    delivery, reasons = make(publisher)
    assert await delivery.settle(raw(), Attempts(InvalidEvent(field="f", rule="r"))) is Settlement.DEAD_LETTERED
    assert len(publisher.dead_letters) == 1
    assert reasons == []


@pytest.mark.parametrize("error", [StageFailed(stage="dead-letter", kind="k", detail="no"), MessageSizeTooLargeError()])
async def test_a_dead_letter_that_cannot_be_written_stops_the_worker_and_leaves_the_event(error):
    publisher = FakePublisher(dead_letter_errors=[error] * 99)
    delivery, reasons = make(publisher)
    settlement = await delivery.settle(raw(), Attempts(InvalidEvent(field="f", rule="r")))
    assert settlement is Settlement.FATAL
    assert not settlement.terminal
    assert "segment-updated[1]@7 could not be written: every attempt fails" in str(reasons[0])


def broken():
    """Return an attempt that fails for a reason of ours and is dead-lettered at once."""
    return Attempts(DeviceProcessDied(how="crashed", request_id="r", crashes=3, limit=3))


@pytest.mark.parametrize("error", [InvalidEvent(field="f", rule="r"), UnreadableRecord(reason="r")])
async def test_events_that_break_the_contract_never_stop_a_worker(error):
    publisher = FakePublisher()
    delivery, reasons = make(publisher)
    results = [await delivery.settle(raw(offset=n), Attempts(error)) for n in range(130)]
    assert results == [Settlement.DEAD_LETTERED] * 130
    assert len(publisher.dead_letters) == 130
    assert reasons == []


async def test_too_many_failures_of_ours_stop_the_worker_before_the_topic_is_emptied():
    publisher = FakePublisher()
    delivery, reasons = make(publisher)
    for number in range(9):
        await delivery.settle(raw(offset=number), Attempts(InvalidEvent(field="f", rule="r")))
    results = [await delivery.settle(raw(offset=n), broken()) for n in range(4)]
    assert results == [Settlement.DEAD_LETTERED] * 3 + [Settlement.FATAL]
    assert len(publisher.dead_letters) == 9 + 3
    assert "more than 3 valid events, and more than 50% of them, failed in 60 s" in str(reasons[0])


async def test_failures_among_many_served_events_do_not_stop_the_worker():
    publisher = FakePublisher()
    delivery, reasons = make(publisher)
    for result in (OUTCOME, None):
        for number in range(4):
            await delivery.settle(raw(offset=number), Attempts(result=result))
    results = [await delivery.settle(raw(offset=n), broken()) for n in range(9)]
    assert results == [Settlement.DEAD_LETTERED] * 8 + [Settlement.FATAL], "the ninth is one more than half"
    assert len(reasons) == 1


async def test_the_worker_is_stopped_once_for_any_number_of_fatal_events():
    delivery, reasons = make(FakePublisher())
    results = [await delivery.settle(raw(offset=n), broken()) for n in range(9)]
    assert results[3:] == [Settlement.FATAL] * 6
    assert len(reasons) == 1


async def test_a_cancelled_delivery_settles_nothing():
    publisher = FakePublisher()
    delivery, _ = make(publisher, DeliverySettings(backoff=60, backoff_cap=60))
    task = asyncio.create_task(delivery.settle(raw(), Attempts(TimeoutError())))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert publisher.published == publisher.dead_letters == []


def test_backoff_doubles_up_to_its_cap_with_half_of_it_jitter(monkeypatch):
    settings = DeliverySettings(backoff=1.0, backoff_cap=5.0)
    monkeypatch.setattr(retries.random, "random", lambda: 1.0)
    assert [backoff(n, settings) for n in (1, 2, 3, 4, 1000)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    monkeypatch.setattr(retries.random, "random", lambda: 0.0)
    assert [backoff(n, settings) for n in (1, 2)] == [0.5, 1.0]


async def test_a_fatal_error_stops_the_worker_at_once():
    publisher = FakePublisher()
    delivery, reasons = make(publisher)
    end = DeadLetterFailed(topic="t", partition=1, offset=7, detail="d")
    attempt = Attempts(end, end)
    assert await delivery.settle(raw(), attempt) is Settlement.FATAL
    assert reasons == [end]
    assert attempt.calls == 1
    assert publisher.published == publisher.dead_letters == []


async def test_a_dead_letter_waits_between_attempts(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr("streams.kafka.delivery.asyncio.sleep", sleep)
    publisher = FakePublisher(dead_letter_errors=[BrokerUnavailable(servers="s", detail="d")] * 3)
    delivery, _ = make(publisher, FAST.model_copy(update={"backoff": 1.0, "backoff_cap": 100.0}))
    assert await delivery.settle(raw(), Attempts(InvalidEvent(field="f", rule="r"))) is Settlement.DEAD_LETTERED
    assert [1 <= seconds / 0.5 / 2**n <= 2 for n, seconds in enumerate(waited)] == [True] * 3


async def test_an_event_gives_its_turn_back_while_it_waits_for_the_next_attempt():
    """Sixteen events wait for the scratch disk; a plain one behind them is served at once."""
    turns = asyncio.Semaphore(1)
    delivery, _ = make(FakePublisher(), DeliverySettings(backoff=60, backoff_cap=60))
    full = ScratchDiskUnusable(folder="/scratch", detail="No space left on device")
    waiting = [asyncio.create_task(delivery.settle(raw(offset=n), Attempts(*[full] * 9), turns)) for n in range(16)]
    await asyncio.sleep(0)  # all of them are in the queue
    async with asyncio.timeout(5):
        assert await delivery.settle(raw(offset=99), Attempts(), turns) is Settlement.DONE
    (problem,) = delivery.scratch_problems
    assert problem.startswith("The scratch folder /scratch cannot be used: No space left on device.")
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert delivery.scratch_problems == []


async def test_other_outages_are_no_problem_of_the_scratch_folder():
    delivery, _ = make(FakePublisher(), DeliverySettings(backoff=60, backoff_cap=60))
    task = asyncio.create_task(delivery.settle(raw(), Attempts(TimeoutError())))
    await asyncio.sleep(0.01)
    assert delivery.scratch_problems == []
    task.cancel()
    await asyncio.wait({task})


async def test_the_follow_up_runs_after_the_announcement_and_is_retried_without_it():
    publisher, calls = FakePublisher(), []

    async def follow_up():
        calls.append(len(publisher.published))
        if len(calls) == 1:
            raise TimeoutError

    delivery, _ = make(publisher)
    attempt = Attempts(result=replace(OUTCOME, follow_up=follow_up))
    assert await delivery.settle(raw(), attempt) is Settlement.DONE
    assert calls == [1, 1]
    assert publisher.published == [OUTCOME]


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(), "os_error"), (DeviceProcessDied(), "device_process_died"), (ValueError(), "value_error")],
)
def test_a_code_has_one_underscore_per_word(error, code):
    assert code_of(error) == code
