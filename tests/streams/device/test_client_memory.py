"""The device client and a device that runs out of memory: an outage, unless nothing but the job can be the cause."""

from __future__ import annotations

import asyncio
from pathlib import Path

from models.errors import OutOfDeviceMemory
from streams.device.client import DeviceClient
from streams.failures import TooLargeForDevice, Verdict, code_of, judge
from tests import fakes
from tests.streams.device.helpers import Open, brief, until


async def attempts(device: DeviceClient, words: str, count: int) -> list[str]:
    """Render a brief this many times in a row; return the names of the results' classes."""
    results = [
        (await asyncio.gather(device.render(brief("a", words)), return_exceptions=True))[0] for _ in range(count)
    ]
    return [type(result).__name__ for result in results]


async def test_a_job_that_fits_into_no_fresh_process_is_dead_lettered(open_device: Open) -> None:
    device = await open_device(max_crashes=3)
    await device.render(brief("b"))
    names = await attempts(device, "full", 4)
    assert names == [*["OutOfDeviceMemory"] * 3, "TooLargeForDevice"], "the first process had served another job"
    assert await device.render(brief("c")) == fakes.rendering(brief("c"))
    assert device.status().restarts == 4, "after each attempt that had the device to itself there is a fresh process"


async def test_memory_that_another_process_holds_is_never_the_jobs_fault(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"free={tmp_path / 'free'}", max_crashes=1)
    assert await attempts(device, "full crowded", 6) == ["OutOfDeviceMemory"] * 6
    (tmp_path / "free").touch()
    assert await device.render(brief("a", "full crowded")) == fakes.rendering(brief("a", "full crowded"))
    assert device.status().restarts == 0, "the process need not load its models again"


async def test_neither_is_memory_that_the_workers_other_process_uses(open_device: Open) -> None:
    device, trainer = await open_device(max_crashes=1), await open_device()
    device.share_device(trainer)
    busy = asyncio.create_task(trainer.render(brief("t", "hang")))
    await until(lambda: trainer.status().running)
    assert await attempts(device, "full", 3) == ["OutOfDeviceMemory"] * 3
    busy.cancel()


async def test_a_brief_that_ran_out_of_memory_in_a_batch_runs_alone(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"log={tmp_path / 'log'}", max_crashes=2)
    first, _ = await asyncio.gather(*map(device.render, (brief("a", "full"), brief("b"))), return_exceptions=True)
    assert isinstance(first, OutOfDeviceMemory)
    assert device.status().restarts == 0, "the batch, not the process, may be too large"
    await asyncio.gather(*map(device.render, (brief("c"), brief("a", "full"))), return_exceptions=True)
    assert (tmp_path / "log").read_text().splitlines() == ["a full|b", "c", "a full"]


def test_running_out_of_memory_is_an_outage() -> None:
    error = OutOfDeviceMemory(stage="generate", detail="CUDA out of memory")
    assert judge(error, failures=99, limit=4) is Verdict.RETRY
    too_large = TooLargeForDevice(request_id="a", failures=3, limit=3, detail="CUDA out of memory")
    assert judge(too_large, failures=1, limit=4) is Verdict.DEAD_LETTER
    assert code_of(too_large) == "too_large_for_device"
