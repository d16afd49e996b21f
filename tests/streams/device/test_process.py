"""One device process without a client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.briefs import StudioPlan
from streams.device import process as process_module
from streams.device.process import DeviceProcess, ProcessEnded


async def test_a_failing_message_handler_ends_the_child() -> None:
    def fail(_: Any) -> None:
        raise LookupError

    process = DeviceProcess("tests.fakes:serve", StudioPlan(diffusion="fake"), on_message=fail)
    async with asyncio.timeout(20):
        await process.ended.wait()
    assert isinstance(process.messages.get_nowait(), ProcessEnded)


async def test_unread_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_MOST_MESSAGES", 3)
    process = DeviceProcess("tests.fakes:serve", StudioPlan(diffusion="not_ready"))
    async with asyncio.timeout(20):
        await process.ended.wait()
    messages = [process.messages.get_nowait() for _ in range(process.messages.qsize())]
    assert len(messages) == 4
    assert "3 messages wait" in messages[-1].reason
