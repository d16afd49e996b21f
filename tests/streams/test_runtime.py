"""A worker of both roles: pictures in one device process, products in a second one."""
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from models.errors import WeightsNotFound
from streams.failures import SigningKeyMissing, StoreUnavailable
from streams.kafka import lag
from streams.messages import RawEvent
from streams.requests import Tools
from streams.runtime import Runtime
from streams.settings import Settings
from streams.store.manifests import event_recipe
from streams.web.state import unready_reasons
from tests.streams.world import SOURCE, World, product, segment


def never(error: Exception) -> None:
    raise AssertionError(error)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    """A runtime without broker and store, whose second device process fails to start once."""
    world, seen = World(tmp_path), tmp_path / "seen"
    training = world.tools.settings.training.model_dump() | {"concurrency": 3}
    studio = {"diffusion": f"missing_once={seen}"}
    runtime = Runtime(Settings.model_validate({"studio": studio, "training": training}), "tests.fakes:serve", never)
    seen.touch()
    await runtime._device.start()
    seen.unlink()
    runtime.use_tools(Tools(runtime._device, world.store, world.tools.prompter, runtime.settings, world.publisher))
    yield runtime
    for device in (runtime._device, runtime._training_device):
        await device.stop(grace=0.2)


def registration(**changes: object) -> RawEvent:
    return RawEvent(SOURCE, b"jam", product(**changes).to_json())


async def test_one_failed_start_costs_no_later_registration(runtime: Runtime) -> None:
    with pytest.raises(WeightsNotFound):
        await runtime._train(registration())
    outcome = await runtime._train(registration())
    assert outcome is not None
    assert outcome.topic == "product_ready"


async def test_learning_is_seen_beside_the_pictures(runtime: Runtime) -> None:
    with pytest.raises(WeightsNotFound):
        await runtime._train(registration())
    assert unready_reasons(runtime.view.state()) == [
        f"The training process is stopped: {runtime._training_device.status().error_message}",
        "The consumer group has not assigned partitions yet.",
    ]
    learning = asyncio.create_task(runtime._train(registration(steps=40)))
    async with asyncio.timeout(20):
        while (process := runtime.view.state().training_process) is None or process.done < 3:
            await asyncio.sleep(0.01)
    assert (process.state, process.stage, process.total, len(process.running)) == ("busy", "train", 40, 1)
    assert runtime.view.state().device_process.state == "idle"
    assert len(unready_reasons(runtime.view.state())) == 1
    await learning


async def test_invalid_objects_of_both_roles_are_counted(runtime: Runtime) -> None:
    with pytest.raises(WeightsNotFound):
        await runtime._train(registration())
    assert runtime._handlers is not None
    await runtime._handlers._tools.store.put("concepts/jam/current.json", b"planted", "application/json")
    await runtime._train(registration())
    assert runtime.view.state().invalid_objects == 1


async def test_a_worker_without_a_signing_key_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREATIVES_STORAGE__SIGNING_KEYS")
    addresses = {"kafka": {"bootstrap_servers": "k:9"}, "storage": {"endpoint": "http://s:9"}}
    runtime = Runtime(Settings.model_validate(addresses), "tests.fakes:serve", never)
    with pytest.raises(SigningKeyMissing, match="Set CREATIVES_STORAGE__SIGNING_KEYS to a random text"):
        await runtime.start()
    await runtime.stop()


async def test_few_products_are_in_hand_at_once(runtime: Runtime) -> None:
    segments, products = (each.in_flight for each in runtime.inputs)
    assert products._turns._value == 3
    assert segments._turns._value == runtime.settings.delivery.concurrency


async def test_parked_segments_are_counted_here_and_in_the_store(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.view.state().waiting_segments is None
    for name in ("s1", "s2"):
        assert await runtime._render(RawEvent(SOURCE, b"s", segment(name).to_json())) is None
    assert runtime._handlers is not None
    store = runtime._handlers._tools.store
    counting = asyncio.create_task(runtime._count_waiting(store))
    async with asyncio.timeout(5):
        while runtime.view.state().waiting_segments is None:
            await asyncio.sleep(0.01)
    counting.cancel()
    state = runtime.view.state()
    assert (state.parked, state.waiting_segments, state.outcomes) == (2, 2, {})
    monkeypatch.setattr(store, "list", unavailable)
    counting = asyncio.create_task(runtime._count_waiting(store))
    await asyncio.sleep(0.01)
    counting.cancel()
    assert runtime.view.state().waiting_segments is None, "an unknown count is not the last known one"


async def test_a_worker_without_free_file_descriptors_still_knows_its_state(runtime: Runtime) -> None:
    runtime.view.state()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # fails whatever opens a file or socket from now on
    try:
        assert runtime.view.state().version
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_lag_is_measured_while_the_models_load(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes minutes. A broker that dies during that time must show."""
    monkeypatch.setattr(lag, "_INTERVAL", 0.05)
    storage = settings.storage.model_copy(update={"signing_keys": SecretStr("k" * 32)})
    runtime = Runtime(settings.model_copy(update={"storage": storage}), "tests.fakes:serve", never)
    loading = asyncio.Event()

    async def load() -> None:
        loading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(runtime._device, "start", load)
    assert runtime.view.state().lag is None
    starting = asyncio.create_task(runtime.start())
    try:
        reached = asyncio.create_task(loading.wait())
        await asyncio.wait({starting, reached}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert reached.done(), starting.result() if starting.done() else "the start does not reach the models"
        async with asyncio.timeout(60):
            while runtime.view.state().lag is None:
                await asyncio.sleep(0.01)
    finally:
        starting.cancel()
        await asyncio.wait({starting})
        await runtime.stop()


async def unavailable(_prefix: str) -> list[str]:
    raise StoreUnavailable(endpoint="http://store", detail="Connection refused")


async def test_the_status_shows_the_recipes_of_the_events(runtime: Runtime) -> None:
    assert runtime._handlers is not None
    state, tools = runtime.view.state(), runtime._handlers._tools
    assert state.recipe == tools.recipe.fingerprint
    assert state.studio_recipe == event_recipe(tools.device.ready.recipe).fingerprint
    assert state.recipe != state.studio_recipe
