"""Device clients on real child processes that run a scripted studio (`tests.fakes.serve`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.briefs import StudioPlan
from streams.device.client import DeviceClient
from tests.streams.device.helpers import SETTINGS, Open, exists


@pytest.fixture
def fatal_errors() -> list[Exception]:
    """The errors with which the clients stopped the worker."""
    return []


@pytest.fixture
async def open_device(fatal_errors: list[Exception]) -> AsyncIterator[Open]:
    """Return a function that starts a client. Every client is stopped at the end and must leave no process."""
    devices: list[DeviceClient] = []

    async def start(script: str = "fake", **changes: float) -> DeviceClient:
        plan = StudioPlan(diffusion=script)
        device = DeviceClient(plan, SETTINGS.model_copy(update=changes), "tests.fakes:serve", fatal_errors.append)
        devices.append(device)
        await device.start()
        return device

    yield start
    for device in devices:
        pid = device.status().pid
        await device.stop(grace=0.2)
        assert pid is None or not exists(pid)
