"""One device process without a client."""

from __future__ import annotations

import asyncio
from typing import Any

from models.briefs import StudioPlan
from streams.device.process import DeviceProcess, ProcessEnded


async def test_a_failing_message_handler_ends_the_child() -> None:
    def fail(_: Any) -> None:
        raise LookupError

    process = DeviceProcess("tests.fakes:serve", StudioPlan(diffusion="fake"), on_message=fail)
    async with asyncio.timeout(20):
        await process.ended.wait()
    assert isinstance(process.messages.get_nowait(), ProcessEnded)
