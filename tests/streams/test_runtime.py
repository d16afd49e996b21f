"""A worker of both roles: pictures in one device process, products in a second one."""
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.errors import WeightsNotFound
from streams.messages import RawEvent
from streams.runtime import Crew
from streams.segments.render import Tools
from streams.settings import Settings
from streams.web.server import unready
from tests.streams.world import SOURCE, World, product


def never(error: Exception) -> None:
    raise AssertionError(error)


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Crew]:
    """A crew without broker and store, whose second device process fails to start once."""
    world, seen = World(tmp_path), tmp_path / "seen"
    training = world.tools.settings.training.model_dump() | {"concurrency": 3}
    studio = {"diffusion": f"shy={seen}"}
    crew = Crew(Settings.model_validate({"studio": studio, "training": training}), "tests.fakes:serve", never)
    seen.touch()
    await crew._lane.start()
    seen.unlink()
    crew._tools = Tools(crew._lane, world.store, world.tools.prompter, crew.settings, world.sent)
    yield crew
    for lane in (crew._lane, crew._school):
        await lane.stop(grace=0.2)


def registration(**changes: object) -> RawEvent:
    return RawEvent(SOURCE, b"jam", product(**changes).to_json())


async def test_one_failed_start_costs_no_later_registration(crew: Crew) -> None:
    with pytest.raises(WeightsNotFound):
        await crew._learn(registration())
    outcome = await crew._learn(registration())
    assert outcome is not None
    assert outcome.topic == "product_ready"


async def test_learning_is_seen_beside_the_pictures(crew: Crew) -> None:
    with pytest.raises(WeightsNotFound):
        await crew._learn(registration())
    assert unready(crew.state()) == [
        f"The device process for products is stopped: {crew._school.status().trouble}",
        "The consumer group has not assigned partitions yet.",
    ]
    learning = asyncio.create_task(crew._learn(registration(steps=40)))
    async with asyncio.timeout(20):
        while (school := crew.state().school) is None or school.done < 3:
            await asyncio.sleep(0.01)
    assert (school.state, school.stage, school.total, len(school.running)) == ("busy", "learn", 40, 1)
    assert crew.state().lane.state == "idle"
    assert len(unready(crew.state())) == 1
    await learning


async def test_few_products_are_in_hand_at_once(crew: Crew) -> None:
    assert crew._products._turn._value == 3
    assert crew._segments._turn._value == crew.settings.delivery.concurrency
