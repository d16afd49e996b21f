"""Run the device process for one command, without Kafka, and show its progress on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.briefs import StudioPlan
from models.weights.references import check_references
from streams.cli.progress import StageBars
from streams.cli.terminal import err_console
from streams.device.client import ENTRY, DeviceClient
from streams.settings import DeviceSettings

UPDATE_SECONDS = 0.1  # between two updates of the progress bars


@asynccontextmanager
async def local_device(plan: StudioPlan, settings: DeviceSettings, entry: str = ENTRY) -> AsyncIterator[DeviceClient]:
    """Start a device process, load its models, and stop it at the end. Raises the named errors of the device."""
    if entry == ENTRY:  # another entry reads references in its own way
        await asyncio.to_thread(check_references, plan)
    device = DeviceClient(plan, settings, entry)
    with StageBars(err_console) as bars:
        updates = asyncio.create_task(_update(device, bars))
        try:
            await device.start()
            yield device
        finally:
            updates.cancel()
            await device.stop()
        _show_status(device, bars)  # the last stages may have begun and ended since the last update
        bars.finish()


async def _update(device: DeviceClient, bars: StageBars) -> None:
    while True:
        _show_status(device, bars)
        await asyncio.sleep(UPDATE_SECONDS)


def _show_status(device: DeviceClient, bars: StageBars) -> None:
    status = device.status()
    bars.show_process(status.state, status.stages)
