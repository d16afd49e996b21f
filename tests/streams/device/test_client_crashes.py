# ruff: noqa: ASYNC251
"""The device client and a child that crashes, hangs, sends garbage or cannot be replaced."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pytest

from models.errors import DeviceUnavailable
from streams.device import process
from streams.device.jobs import JobQueue
from streams.failures import DeviceProcessDied, DeviceStuck, WeightsChanged
from tests import fakes
from tests.streams.device.helpers import Open, brief, exists, until


async def test_a_crash_counts_against_the_job_that_ran_alone(open_device: Open) -> None:
    device = await open_device(max_crashes=2)
    for crashes in (1, 2, 1):
        with pytest.raises(DeviceProcessDied, match="was killed by SIGKILL while it worked on a ") as caught:
            await device.render(brief("a", "crash"))
        assert (caught.value.fields["crashes"], caught.value.fields["limit"]) == (crashes, 2)
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))
    assert device.status().restarts == 3


async def test_of_a_lost_batch_only_the_cause_fails(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"log={tmp_path / 'log'}")
    names = ["a", "b crash", "c", "d"]
    ends = await asyncio.gather(*(device.render(brief(name)) for name in names), return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["Rendering", "DeviceProcessDied", "Rendering", "Rendering"]
    assert (tmp_path / "log").read_text().splitlines() == ["a|b crash|c|d", "b crash", "c", "d"]
    assert device.status().restarts == 2


async def test_a_job_that_crashed_runs_alone_until_it_succeeds(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"once={tmp_path / 'once'},log={tmp_path / 'log'}")
    with pytest.raises(DeviceProcessDied, match="exited with status 7"):
        await device.render(brief("a", "exit"))
    await asyncio.gather(device.render(brief("b")), device.render(brief("a", "exit")), device.render(brief("c")))
    await asyncio.gather(device.render(brief("b")), device.render(brief("a", "exit")))
    assert (tmp_path / "log").read_text().splitlines() == ["a exit", "b", "a exit", "c", "b|a exit"]


async def test_a_hang_is_killed_at_its_deadline(open_device: Open) -> None:
    device = await open_device(deadline=0.3)
    pid = device.status().pid
    began = time.monotonic()
    with pytest.raises(DeviceProcessDied, match=r"gave no sign of progress for 0\.3 s and was killed"):
        await device.render(brief("a", "hang"))
    assert time.monotonic() - began < 2
    assert pid is not None
    assert not exists(pid)


async def test_progress_moves_the_deadline(open_device: Open) -> None:
    device = await open_device(deadline=0.4)
    task = asyncio.create_task(device.render(brief("a", "ticks")))
    await until(lambda: device.status().done == 3)
    assert (device.status().state, device.status().stage, device.status().total) == ("busy", "generate", 6)
    await task
    assert device.status().restarts == 0


async def test_a_stopped_child_is_killed_at_its_deadline(open_device: Open) -> None:
    """A child that waits for a broken driver looks like one stopped by SIGSTOP."""
    device = await open_device("slow=0.2", deadline=0.5)
    task = asyncio.create_task(device.render(brief("a")))
    await until(lambda: device.status().state == "busy")
    os.kill(device.status().pid or 0, signal.SIGSTOP)
    with pytest.raises(DeviceProcessDied):
        await task


async def test_a_blocked_event_loop_kills_no_child(open_device: Open) -> None:
    device = await open_device("slow=0.1", deadline=0.4)
    task = asyncio.create_task(device.render(brief("a")))
    await until(lambda: device.status().stage == "generate")
    time.sleep(0.8)
    await task
    assert device.status().restarts == 0


async def test_a_child_that_dies_idle_is_replaced(open_device: Open) -> None:
    device = await open_device()
    pid = device.status().pid
    os.kill(pid or 0, signal.SIGKILL)
    await until(lambda: device.status().restarts == 1)
    assert await device.render(brief("a")) == fakes.rendering(brief("a"))
    assert device.status().pid != pid


@pytest.mark.parametrize("word", ["unreadable", "forget"])
async def test_a_child_that_sends_garbage_or_nothing_is_killed(open_device: Open, word: str) -> None:
    device = await open_device(deadline=0.3)
    with pytest.raises(DeviceProcessDied):
        await device.render(brief("a", word))
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))


async def test_a_child_with_other_weights_stops_the_worker(open_device: Open, fatal_errors: list[Exception]) -> None:
    device = await open_device("slow=0.5")
    waiting = asyncio.create_task(device.render(brief("a")))
    await until(lambda: device.status().running)
    queued = asyncio.create_task(device.render(brief("b")))
    await until(lambda: device.status().queued)
    other = replace(fakes.RECIPE, fingerprint="1" * 64)
    device._starter.ready = replace(device.ready, recipe=other)
    os.kill(device.status().pid or 0, signal.SIGKILL)
    await until(lambda: fatal_errors)
    assert [type(error) for error in fatal_errors] == [WeightsChanged]
    assert device.status().error_message == str(WeightsChanged())
    assert device.status().state == "restarting"
    with pytest.raises(DeviceProcessDied):
        await waiting
    with pytest.raises(DeviceUnavailable, match="restart the worker"):
        await queued


async def test_the_client_waits_while_no_process_can_be_started(
    open_device: Open, fatal_errors: list[Exception]
) -> None:
    """The test takes every free file descriptor away for a while."""
    device = await open_device()
    task = asyncio.create_task(device.render(brief("a")))
    await task
    limit, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, maximum))
    try:
        os.kill(device.status().pid or 0, signal.SIGKILL)
        await until(lambda: "Too many open files" in (device.status().error_message or ""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, maximum))
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))
    assert fatal_errors == []


async def test_a_broken_runner_stops_the_worker(
    open_device: Open, fatal_errors: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await open_device()
    monkeypatch.setattr(JobQueue, "take_batch", lambda *_: 1 / 0)
    with pytest.raises(DeviceUnavailable, match="division by zero"):
        await device.render(brief("a"))
    assert [type(error) for error in fatal_errors] == [ZeroDivisionError]


async def test_a_child_that_survives_sigkill_stops_the_worker(
    open_device: Open, fatal_errors: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits in the kernel survives SIGKILL; here the signal is not sent."""
    monkeypatch.setattr(process, "_KILL_SECONDS", 0.2)
    device = await open_device(deadline=0.3)
    pid = device.status().pid
    with pytest.MonkeyPatch.context() as signals:
        signals.setattr(Popen, "kill", lambda _: None)
        with pytest.raises(DeviceUnavailable, match=f"The device process {pid} is still alive"):
            await device.render(brief("a", "hang"))
        assert [type(error) for error in fatal_errors] == [DeviceStuck]
        async with asyncio.timeout(3):
            await device.stop(grace=0.2)
    os.kill(pid or 0, signal.SIGKILL)
    await until(lambda: pid is not None and not exists(pid))
