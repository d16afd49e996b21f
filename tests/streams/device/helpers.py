# ruff: noqa: ASYNC110
"""What the tests of the device client share: settings, requests, and waiting for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from models.briefs import Brief, TrainingJob
from models.photo_files import PhotoFile
from streams.device.client import DeviceClient
from streams.settings import DeviceSettings

SETTINGS = DeviceSettings(linger=0.02, batch=4, start_deadline=20, deadline=20, max_crashes=3)
Open = Callable[..., Awaitable[DeviceClient]]


def brief(name: str, prompt: str = "") -> Brief:
    return Brief(name, f"{name} {prompt}".strip(), "", (1, 2, 3), 1)


def training_job(tmp_path: Path, **changes: object) -> TrainingJob:
    fields = dict(
        request_id="l1",
        product_id="milk",
        class_noun="carton",
        placeholder_token="sks",
        method="dreambooth",
        photos=(PhotoFile("x", "0" * 64),),
        seed=1,
        workdir=str(tmp_path / "work"),
        steps=5,
    )
    return TrainingJob(**(fields | changes))


async def ignore_checkpoint(step: int, path: Path) -> None: ...


def exists(pid: int) -> bool:
    """Return whether the process exists, as a zombie too."""
    return Path(f"/proc/{pid}").exists()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
