"""The line of each event: real handlers and delivery, on a store in memory and a fake device."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from models.errors import NothingPassed
from schemas.events import Source
from streams import event_line
from streams.delivery_settings import DeliverySettings
from streams.device.client import DeviceClient
from streams.handlers import Handlers
from streams.kafka.delivery import Delivery
from streams.messages import OutcomePublisher, RawEvent
from tests.streams.world import World, product, segment

PLACE = Source(topic="segment-updated", partition=3, offset=17)
Line = tuple[str, dict[str, Any]]


class Lines:
    """Stands for the logger of one module, and keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def info(self, message: str, **fields: Any) -> None:
        self.lines.append((message, fields))


class Broker:
    """A publisher whose broker confirms everything."""

    async def publish(self, _outcome: object) -> None: ...

    async def dead_letter(self, *_: object) -> None: ...


class ReadyDevice:
    """The training device, which is loaded already."""

    def __init__(self, world: World) -> None:
        self.train, self.ready = world.device.train, world.device.ready

    def status(self) -> Any:
        return type("Status", (), {"state": "idle"})()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    recorder = Lines()
    monkeypatch.setattr(event_line, "log", recorder)
    return recorder.lines


async def settle(world: World, value: bytes, *, train: bool = False) -> None:
    """Deliver one event, with three attempts."""
    handlers = Handlers(world.tools, cast("DeviceClient", ReadyDevice(world)))
    settings = DeliverySettings(backoff=0.0001, attempts=3)
    delivery = Delivery(cast("OutcomePublisher", Broker()), settings, lambda _: None)
    await delivery.settle(RawEvent(PLACE, b"k", value), handlers.train if train else handlers.render)


async def test_pictures(world: World, lines: list[Line]) -> None:
    value = segment(product_id=None).to_json()
    await settle(world, value)
    await settle(world, value)
    (first, fields), (_, repeated) = lines
    assert first == "pictures ready"
    assert (fields["event_id"], fields["segment_id"]) == ("s1", "breakfast")
    prefix = f"creatives/breakfast/{fields['request_id']}/"
    assert fields["stored"] == f"s3://creatives/{prefix}"
    assert f"{prefix}manifest.json" in world.store.objects
    assert (fields["candidates"], fields["pictures"]) == (8, 2)
    assert (fields["topic"], fields["partition"], fields["offset"]) == ("segment-updated", 3, 17)
    assert set(fields["seconds"]) == {"find", "device", "generate", "store", "publish", "total"}
    assert "repeated" not in fields
    assert repeated["repeated"]
    assert set(repeated["seconds"]) == {"find", "publish", "total"}


async def test_a_parked_segment(world: World, lines: list[Line]) -> None:
    await settle(world, segment().to_json())
    [(message, fields)] = lines
    assert message == "segment parked until its product is trained"
    assert (fields["segment_id"], fields["product_id"]) == ("breakfast", "jam")
    assert fields["stored"].removeprefix("s3://creatives/") in world.store.objects
    assert fields["stored"].endswith(f"parked/jam/{fields['request_id']}.json")


async def test_a_trained_product(world: World, lines: list[Line]) -> None:
    await settle(world, product(steps=7).to_json(), train=True)
    [(message, fields)] = lines
    assert message == "product trained"
    assert (fields["event_id"], fields["product_id"], fields["method"]) == ("p1", "jam", "dreambooth")
    assert fields["scores"] == {"fidelity": 0.9}
    assert set(fields["seconds"]) == {"photos", "device", "upload", "store", "publish", "total"}


async def test_a_rejection_names_its_code_and_reason(world: World, lines: list[Line]) -> None:
    world.device.error = NothingPassed(detail="all candidates are black")
    await settle(world, segment(product_id=None).to_json())
    [(message, fields)] = lines
    assert (message, fields["code"]) == ("rejected", "nothing_passed")
    assert "all candidates are black" in fields["reason"]


async def test_a_dead_letter_names_what_is_known(world: World, lines: list[Line]) -> None:
    await settle(world, b"[]")
    world.device.error = ValueError("a bug")
    await settle(world, segment(product_id=None).to_json())
    (message, unreadable), (_, failed) = lines
    assert message == "dead letter written"
    assert (unreadable["attempts"], unreadable["code"]) == (1, "invalid_event")
    assert unreadable["reason"] == "value: must be a JSON object"
    assert "event_id" not in unreadable
    assert (failed["attempts"], failed["code"], failed["event_id"]) == (3, "value_error", "s1")


async def test_events_that_run_at_the_same_time_have_lines_of_their_own(world: World, lines: list[Line]) -> None:
    events = [segment(f"s{number}", product_id=None).to_json() for number in range(5)]
    await asyncio.gather(*(settle(world, value) for value in events))
    assert {fields["event_id"] for _, fields in lines} == {f"s{number}" for number in range(5)}
    assert len({fields["request_id"] for _, fields in lines}) == 5


def test_outside_an_event_nothing_is_noted() -> None:
    event_line.note(a=1)
    with event_line.timed("x"):
        pass
