"""Parked segments: released after the announcement, many at once, and rejected after they waited for too long."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from schemas.events import CreativeReady, CreativeRejected, SegmentUpdated
from streams.delivery_settings import DeliverySettings
from streams.failures import StoreUnavailable
from streams.kafka.delivery import Delivery, Settlement
from streams.messages import PARKED_SINCE, Outcome, RawEvent
from streams.products.release import reject_expired, release_parked
from streams.products.train import train_product
from streams.settings import Settings
from streams.store.parked import expiry_header, park_segment
from streams.store.signed_objects import Signer
from tests import fakes
from tests.streams.store.signing import FOREIGN
from tests.streams.world import SOURCE, RecordingPublisher, World, product, segment

OURS = Signer.from_settings(Settings().storage)


class GatedPublisher(RecordingPublisher):
    """Confirms a released segment only when the test opens the gate. waiting, most: such calls now, and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = self.most = 0
        self.calls: list[str] = []

    async def publish(self, outcome: Outcome) -> None:
        self.calls.append(outcome.topic)
        if outcome.topic == "segment_updated":
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            await self.gate.wait()
            self.waiting -= 1
        await super().publish(outcome)


async def park(world: World, count: int) -> None:
    for number in range(count):
        await park_segment(world.tools.signed, segment(f"s{number}"), "jam", f"r-{number}")


def released(publisher: RecordingPublisher) -> list[str]:
    outcomes = [outcome for outcome in publisher.outcomes if outcome.topic == "segment_updated"]
    return sorted(SegmentUpdated.model_validate_json(outcome.value).event_id for outcome in outcomes)


async def test_the_product_is_announced_first_and_16_segments_are_released_at_once(world: World) -> None:
    await park(world, 40)
    world.publisher = publisher = GatedPublisher()
    world.restart()

    async def attempt(_: RawEvent) -> Outcome:
        return await train_product(product(), SOURCE, world.tools)

    delivery = Delivery(publisher, DeliverySettings(), lambda _: None)  # type: ignore[arg-type]
    settled = asyncio.create_task(delivery.settle(RawEvent(SOURCE, b"jam", b""), attempt))
    async with asyncio.timeout(5):
        while publisher.waiting < 16:  # noqa: ASYNC110 - the release has no event to wait for
            await asyncio.sleep(0)
    assert publisher.calls[0] == "product_ready"
    assert not settled.done()
    publisher.gate.set()
    assert await settled is Settlement.DONE
    assert publisher.most == 16
    assert released(publisher) == sorted(f"s{number}" for number in range(40))
    assert world.keys("parked/") == []


async def test_a_release_that_is_killed_goes_on_and_loses_nothing(world: World) -> None:
    await park(world, 40)
    publisher = GatedPublisher()
    release = asyncio.create_task(release_parked(world.tools.signed, publisher, "jam"))
    async with asyncio.timeout(5):
        while publisher.waiting < 16:  # noqa: ASYNC110
            await asyncio.sleep(0)
    release.cancel()
    await asyncio.wait({release})
    left = len(world.keys("parked/"))
    assert left == 40 - len(released(publisher))
    publisher.gate.set()
    await release_parked(world.tools.signed, publisher, "jam")
    assert set(released(publisher)) == {f"s{number}" for number in range(40)}
    assert world.keys("parked/") == []


async def test_an_outage_in_the_middle_ends_the_release_with_its_error(world: World) -> None:
    await park(world, 40)

    def fail(operation: str, key: str) -> None:
        if operation == "get" and key.endswith("r-7.json"):
            fakes.unavailable(operation, key)

    world.store.fail = fail
    with pytest.raises(StoreUnavailable):
        await release_parked(world.tools.signed, world.publisher, "jam")
    world.store.fail = lambda operation, key: None
    await release_parked(world.tools.signed, world.publisher, "jam")
    assert released(world.publisher) == sorted(f"s{number}" for number in range(40))


async def test_a_retried_release_does_not_announce_the_product_again(world: World) -> None:
    await park(world, 1)
    failures = iter([1])

    def fail(operation: str, key: str) -> None:
        if operation == "delete" and key.startswith("parked/") and next(failures, None):
            fakes.unavailable(operation, key)

    async def attempt(_: RawEvent) -> Outcome:
        return await train_product(product(), SOURCE, world.tools)

    world.store.fail = fail
    delivery = Delivery(world.publisher, DeliverySettings(backoff=0.001), lambda _: None)  # type: ignore[arg-type]
    assert await delivery.settle(RawEvent(SOURCE, b"jam", b""), attempt) is Settlement.DONE
    assert [outcome.topic for outcome in world.publisher.outcomes].count("product_ready") == 1
    assert released(world.publisher) == ["s0", "s0"]
    assert world.keys("parked/") == []


async def test_a_segment_that_waited_for_too_long_gets_one_rejection(world: World) -> None:
    for event_id in ("s-old", "s-new"):
        assert await world.render(segment(event_id)) is None
    old = next(key for key in world.keys("parked/") if b"s-old" in world.store.objects[key])
    world.store.dates[old] = datetime.now(UTC) - timedelta(days=31)
    await reject_expired(world.tools.signed, world.publisher, 30)
    [again] = world.publisher.outcomes
    assert old not in world.keys("parked/")
    event = SegmentUpdated.model_validate_json(again.value)
    outcomes = [await world.render(event, again.headers) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    message = CreativeRejected.model_validate_json(outcomes[0].value if outcomes[0] else b"")
    assert (message.event_id, message.code, message.product_id) == ("s-old", "product_not_ready", "jam")
    assert "waited for the product jam since before 20" in message.reason
    assert len(world.keys("parked/")) == 1


async def test_a_late_product_still_serves_a_segment_that_waited_for_too_long(world: World) -> None:
    await world.render(segment())
    [key] = world.keys("parked/")
    world.store.dates[key] = datetime.now(UTC) - timedelta(days=31)
    await reject_expired(world.tools.signed, world.publisher, 30)
    await world.train(product())
    outcome = await world.render(segment(), world.publisher.outcomes[0].headers)
    assert CreativeReady.model_validate_json(outcome.value if outcome else b"").product_id == "jam"


def mark(signer: Signer, since: datetime) -> bytes:
    return expiry_header(signer, segment(), since)[1]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"2001 \x1b[31m",
        b"2001-01-01T00:00:00+00:00",
        b"2001-01-01T00:00:00+00:00 " + b"0" * 64,
        b"\xff \xff",
        mark(FOREIGN, datetime(2001, 1, 1, tzinfo=UTC)),
        mark(OURS, datetime(2026, 1, 1, tzinfo=UTC)).replace(b"2026", b"2001"),
    ],
)
async def test_an_emitter_cannot_have_a_waiting_segment_rejected(value: bytes, world: World) -> None:
    assert await world.render(segment(), ((PARKED_SINCE, value),)) is None
    trained = await train_product(product(), SOURCE, world.tools, ((PARKED_SINCE, value),))
    assert trained.follow_up is not None
    await trained.follow_up()
    [sent] = [sent for sent in world.publisher.outcomes if sent.topic == "segment_updated"]
    assert [name for name, _ in sent.headers] == ["traceparent"]
    outcome = await world.render(segment(), sent.headers)
    assert CreativeReady.model_validate_json(outcome.value if outcome else b"").product_id == "jam"


async def test_an_expiry_header_is_valid_for_its_own_segment_only(world: World) -> None:
    header = expiry_header(OURS, segment(), datetime(2001, 1, 1, tzinfo=UTC))
    for other in (segment("another"), segment(name="other words")):
        assert await world.render(other, (header,)) is None
    outcome = await world.render(segment(), (header,))
    message = CreativeRejected.model_validate_json(outcome.value if outcome else b"")
    assert "since before 2001-01-01T00:00:00+00:00, and" in message.reason
