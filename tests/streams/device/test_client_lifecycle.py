"""Starting and stopping the device client, and a child whose worker dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.briefs import StudioPlan
from models.errors import Cancelled, DeviceUnavailable, StageFailed, WeightsNotFound
from streams.device.client import DeviceClient
from tests import fakes
from tests.streams.device.helpers import SETTINGS, Open, brief, exists, until


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("missing", WeightsNotFound, "No weights for diffusion at missing: put it there"),
        ("dies", DeviceUnavailable, "its process exited with status 3 while it loaded the models"),
        ("not_ready", DeviceUnavailable, "sent no ready message"),
    ],
)
async def test_start_raises_the_error_of_the_child(
    open_device: Open, script: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await open_device(script)


async def test_a_failed_start_may_be_repeated(open_device: Open, tmp_path: Path) -> None:
    device = DeviceClient(StudioPlan(diffusion=f"missing_once={tmp_path / 'seen'}"), SETTINGS, "tests.fakes:serve")
    with pytest.raises(WeightsNotFound):
        await device.start()
    status = device.status()
    assert (status.state, status.pid) == ("stopped", None)
    assert status.error_message is not None
    assert "No weights for diffusion" in status.error_message
    await device.start()
    assert await device.render(brief("a")) == fakes.rendering(brief("a"))
    assert device.status().error_message is None
    await device.stop(grace=0.2)


async def test_a_cancelled_start_leaves_no_child(tmp_path: Path) -> None:
    device = DeviceClient(StudioPlan(diffusion="silent"), SETTINGS, "tests.fakes:serve")
    starting = asyncio.create_task(device.start())
    await until(lambda: device.status().pid)
    pid = device.status().pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert device.status().state == "stopped"
    assert pid is not None
    assert not exists(pid)


async def test_start_has_a_deadline(open_device: Open) -> None:
    with pytest.raises(DeviceUnavailable, match=r"not ready within 0\.3 s"):
        await open_device("silent", start_deadline=0.3)


async def test_a_missing_entry_is_a_clear_error() -> None:
    device = DeviceClient(StudioPlan(), SETTINGS, "tests.no_such_module:serve")
    with pytest.raises(StageFailed, match="The load stage failed with ModuleNotFoundError: No module named"):
        await device.start()
    await device.stop()


async def test_stop_ends_a_busy_child_and_cancels_its_callers(open_device: Open) -> None:
    device = await open_device()
    tasks = [asyncio.create_task(device.render(brief(name))) for name in ("a hang", "b")]
    await until(lambda: device.status().running)
    tasks.append(asyncio.create_task(device.render(brief("c"))))
    pid = device.status().pid
    await asyncio.sleep(0.05)
    await device.stop(grace=0.1)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [Cancelled] * 3
    assert pid is not None
    assert not exists(pid)
    assert device.status().state == "stopped"


PARENT = """
import asyncio, sys
from models.briefs import Brief, StudioPlan
from streams.device.client import DeviceClient
from streams.settings import DeviceSettings
async def main():
    device = DeviceClient(StudioPlan(diffusion="fake"), DeviceSettings(), "tests.fakes:serve")
    await device.start()
    print(device.status().pid, flush=True)
    await device.render(Brief("a", "hang", "", (1,), 1))
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_dies_with_its_parent(tmp_path: Path, ending: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root)}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert exists(child)
        parent.send_signal(ending)
        parent.wait(10)
    give_up = time.monotonic() + 5
    while exists(child) and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < give_up, "the device process outlives its parent"
        time.sleep(0.02)
