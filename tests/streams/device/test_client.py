# ruff: noqa: ASYNC110, ASYNC240, ASYNC251
"""The lane on real child processes that run a scripted studio."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from models.briefs import Brief, StudioPlan, TrainingJob
from models.errors import Cancelled, DeviceUnavailable, NothingPassed, StageFailed, WeightsNotFound
from streams.device import process
from streams.device.client import DeviceClient
from streams.device.jobs import JobQueue
from streams.failures import DeviceProcessDied, DeviceStuck, WeightsChanged
from streams.settings import DeviceSettings
from tests import fakes

SETTINGS = DeviceSettings(linger=0.02, batch=4, start_deadline=20, deadline=20, max_crashes=3)
Open = Callable[..., Awaitable[DeviceClient]]


def brief(name: str, prompt: str = "") -> Brief:
    return Brief(name, f"{name} {prompt}".strip(), "", (1, 2, 3), 1)


def training_job(tmp_path: Path, **changes: object) -> TrainingJob:
    given = dict(
        request_id="l1",
        product_id="milk",
        class_noun="carton",
        placeholder_token="sks",
        method="dreambooth",
        photos=(b"x",),
        seed=1,
        workdir=str(tmp_path / "work"),
        steps=5,
    )
    return TrainingJob(**(given | changes))


@pytest.fixture
def died() -> list[Exception]:
    """What the lanes died of."""
    return []


@pytest.fixture
async def opened(died: list[Exception]) -> AsyncIterator[Open]:
    devices: list[DeviceClient] = []

    async def open_lane(script: str = "fake", **changes: float) -> DeviceClient:
        plan = StudioPlan(diffusion=script)
        device = DeviceClient(plan, SETTINGS.model_copy(update=changes), "tests.fakes:serve", died.append)
        devices.append(device)
        await device.start()
        return device

    yield open_lane
    for device in devices:
        pid = device.status().pid
        await device.stop(grace=0.2)
        assert pid is None or not exists(pid)


def exists(pid: int) -> bool:
    """Whether the process is there, be it as a zombie."""
    return Path(f"/proc/{pid}").exists()


async def never(step: int, path: Path) -> None:
    raise AssertionError("no checkpoint is expected")


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_renders_and_tells_what_it_is(opened: Open) -> None:
    device = await opened()
    assert device.ready == fakes.ready()
    assert await device.render(brief("a")) == fakes.rendering(brief("a"))
    status = device.status()
    assert (status.state, status.restarts, status.queued, status.running, status.finished) == ("idle", 0, 0, (), 1)
    assert status.pid is not None
    assert exists(status.pid)


async def test_gathers_neighbours_into_batches(opened: Open, tmp_path: Path) -> None:
    device = await opened(f"log={tmp_path / 'log'}", linger=0.1)
    renderings = await asyncio.gather(*(device.render(brief(f"r{i}")) for i in range(6)))
    assert [rendering.request_id for rendering in renderings] == [f"r{i}" for i in range(6)]
    assert (tmp_path / "log").read_text().split() == ["r0|r1|r2|r3", "r4|r5"]


async def test_a_result_does_not_depend_on_the_batch(opened: Open) -> None:
    device = await opened()
    together = await asyncio.gather(*(device.render(brief(f"r{i}")) for i in range(4)))
    assert [await device.render(brief(f"r{i}")) for i in range(4)] == together


async def test_joins_a_request_in_flight(opened: Open, tmp_path: Path) -> None:
    device = await opened(f"slow=0.1,log={tmp_path / 'log'}")
    first, second = await asyncio.gather(device.render(brief("same")), device.render(brief("same")))
    assert first is second
    assert (tmp_path / "log").read_text() == "same\n"


async def test_two_briefs_of_one_request_id_each_get_their_own(opened: Open, tmp_path: Path) -> None:
    device = await opened(f"slow=0.05,log={tmp_path / 'log'}")
    briefs = [Brief("same", prompt, "", (1, 2, 3), 1) for prompt in ("coffee", "tea", "coffee", "tea")]
    assert await asyncio.gather(*map(device.render, briefs)) == [fakes.rendering(brief) for brief in briefs]
    assert (tmp_path / "log").read_text().split() == ["coffee", "tea"]


@pytest.mark.parametrize(("word", "error"), [("reject", NothingPassed), ("fail", StageFailed)])
async def test_named_errors_arrive(opened: Open, word: str, error: type[Exception]) -> None:
    device = await opened()
    work = brief("good"), brief("bad", word), brief("bad", word)
    neighbour, failed, joined = await asyncio.gather(*map(device.render, work), return_exceptions=True)
    assert neighbour == fakes.rendering(brief("good"))
    assert isinstance(failed, error)
    assert joined is failed
    assert device.status().restarts == 0


async def test_a_crash_blames_the_one_that_ran_alone(opened: Open) -> None:
    device = await opened(max_crashes=2)
    for crashes in (1, 2, 1):
        with pytest.raises(DeviceProcessDied, match="was killed by SIGKILL while it worked on a ") as caught:
            await device.render(brief("a", "crash"))
        assert (caught.value.fields["crashes"], caught.value.fields["limit"]) == (crashes, 2)
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))
    assert device.status().restarts == 3


async def test_of_a_lost_batch_only_the_killer_is_blamed(opened: Open, tmp_path: Path) -> None:
    device = await opened(f"log={tmp_path / 'log'}")
    names = ["a", "b crash", "c", "d"]
    ends = await asyncio.gather(*(device.render(brief(name)) for name in names), return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["Rendering", "DeviceProcessDied", "Rendering", "Rendering"]
    assert (tmp_path / "log").read_text().splitlines() == ["a|b crash|c|d", "b crash", "c", "d"]
    assert device.status().restarts == 2


async def test_a_suspect_runs_alone_and_is_forgiven(opened: Open, tmp_path: Path) -> None:
    device = await opened(f"once={tmp_path / 'once'},log={tmp_path / 'log'}")
    with pytest.raises(DeviceProcessDied, match="exited with status 7"):
        await device.render(brief("a", "exit"))
    await asyncio.gather(device.render(brief("b")), device.render(brief("a", "exit")), device.render(brief("c")))
    await asyncio.gather(device.render(brief("b")), device.render(brief("a", "exit")))
    assert (tmp_path / "log").read_text().splitlines() == ["a exit", "b", "a exit", "c", "b|a exit"]


async def test_a_hang_is_killed_at_its_deadline(opened: Open) -> None:
    device = await opened(deadline=0.3)
    pid = device.status().pid
    began = time.monotonic()
    with pytest.raises(DeviceProcessDied, match=r"gave no sign of progress for 0\.3 s and was killed"):
        await device.render(brief("a", "hang"))
    assert time.monotonic() - began < 2
    assert pid is not None
    assert not exists(pid)


async def test_signs_of_life_move_the_deadline(opened: Open) -> None:
    device = await opened(deadline=0.4)
    task = asyncio.create_task(device.render(brief("a", "ticks")))
    await until(lambda: device.status().done == 3)
    assert (device.status().state, device.status().stage, device.status().total) == ("busy", "generate", 6)
    await task
    assert device.status().restarts == 0


async def test_every_stage_of_the_last_batch_is_remembered(opened: Open) -> None:
    device = await opened()
    assert device.status().stages == {"load": (1, 1)}
    await device.render(brief("a", "stages"))
    await until(lambda: device.status().state == "idle")
    assert list(device.status().stages.items()) == [
        (name, (2, 2)) for name in ("generate", "rerank", "upscale", "encode")
    ]
    await device.render(brief("b"))
    assert device.status().stages == {"generate": (0, 2)}, "of one batch only"


async def test_a_stopped_child_is_killed_too(opened: Open) -> None:
    """SIGSTOP is what a process looks like that waits for a broken driver."""
    device = await opened("slow=0.2", deadline=0.5)
    task = asyncio.create_task(device.render(brief("a")))
    await until(lambda: device.status().state == "busy")
    os.kill(device.status().pid or 0, signal.SIGSTOP)
    with pytest.raises(DeviceProcessDied):
        await task


async def test_a_blocked_loop_is_not_the_childs_fault(opened: Open) -> None:
    device = await opened("slow=0.1", deadline=0.4)
    task = asyncio.create_task(device.render(brief("a")))
    await until(lambda: device.status().stage == "generate")
    time.sleep(0.8)
    await task
    assert device.status().restarts == 0


async def test_an_idle_death_is_mended(opened: Open) -> None:
    device = await opened()
    pid = device.status().pid
    os.kill(pid or 0, signal.SIGKILL)
    await until(lambda: device.status().restarts == 1)
    assert await device.render(brief("a")) == fakes.rendering(brief("a"))
    assert device.status().pid != pid


@pytest.mark.parametrize("word", ["unpicklable", "forget"])
async def test_a_child_that_answers_nonsense_or_nothing_is_ended(opened: Open, word: str) -> None:
    device = await opened(deadline=0.3)
    with pytest.raises(DeviceProcessDied):
        await device.render(brief("a", word))
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))


async def test_large_pictures_pass_and_the_loop_goes_on(opened: Open) -> None:
    device = await opened()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    result = await device.render(brief("a", "big"))
    ticking.cancel()
    assert len(result.pictures[0].content) == 20_000_000
    assert longest < 0.3


async def test_cancelling_drops_what_is_queued(opened: Open, tmp_path: Path) -> None:
    device = await opened(f"slow=0.1,log={tmp_path / 'log'}", batch=1)
    running = asyncio.create_task(device.render(brief("running")))
    await until(lambda: device.status().running)
    queued = asyncio.create_task(device.render(brief("queued")))
    await until(lambda: device.status().queued)
    queued.cancel()
    await until(lambda: device.status().queued == 0)
    await running
    await device.render(brief("next"))
    assert (tmp_path / "log").read_text().split() == ["running", "next"]


@pytest.mark.parametrize("queued", [False, True])
async def test_cancelling_one_of_two_keeps_the_job(opened: Open, queued: bool) -> None:
    device = await opened("slow=0.1")
    ahead = [asyncio.create_task(device.render(brief("ahead")))] if queued else []
    if queued:
        await until(lambda: device.status().running)
    first, second = (asyncio.create_task(device.render(brief("same"))) for _ in range(2))
    await until(lambda: device.status().queued if queued else device.status().running)
    first.cancel()
    assert await second == fakes.rendering(brief("same"))
    await asyncio.gather(*ahead)


async def test_learns_with_checkpoints(opened: Open, tmp_path: Path) -> None:
    device = await opened()
    seen: list[int] = []

    async def keep(step: int, path: Path) -> None:
        assert path.read_bytes() == f"milk at {step}".encode()
        seen.append(step)

    learned = await device.train(training_job(tmp_path), keep)
    assert learned.steps == 5
    assert Path(learned.path).read_bytes() == b"milk learned in 5, from 0"
    assert seen
    assert seen == sorted(set(seen))


async def test_a_lesson_resumes_after_a_crash(opened: Open, tmp_path: Path) -> None:
    device = await opened()

    async def keep(step: int, path: Path) -> None: ...

    with pytest.raises(DeviceProcessDied, match="1 of 3"):
        await device.train(training_job(tmp_path, class_noun="crash"), keep)
    learned = await device.train(training_job(tmp_path, class_noun="crash"), keep)
    assert Path(learned.path).read_bytes() == b"milk learned in 5, from 3"


async def test_a_cancelled_lesson_ends_and_may_be_asked_again(opened: Open, tmp_path: Path) -> None:
    device = await opened()

    async def keep(step: int, path: Path) -> None: ...

    task = asyncio.create_task(device.train(training_job(tmp_path, steps=500), keep))
    await until(lambda: device.status().done >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    learned = await device.train(training_job(tmp_path, steps=8), keep)
    assert not Path(learned.path).read_bytes().endswith(b"from 0")
    assert device.status().restarts == 0


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("missing", WeightsNotFound, "No weights for diffusion at missing: put it there"),
        ("dies", DeviceUnavailable, "its process exited with status 3 while it loaded the models"),
        ("not_ready", DeviceUnavailable, "did not say that it is ready"),
    ],
)
async def test_start_raises_the_childs_error(opened: Open, script: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await opened(script)


async def test_a_start_that_failed_may_be_tried_again(opened: Open, tmp_path: Path) -> None:
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


async def test_a_start_that_is_given_up_leaves_no_child(tmp_path: Path) -> None:
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


async def test_start_has_a_deadline(opened: Open) -> None:
    with pytest.raises(DeviceUnavailable, match=r"not ready within 0\.3 s"):
        await opened("silent", start_deadline=0.3)


async def test_a_missing_entry_is_a_clear_error() -> None:
    device = DeviceClient(StudioPlan(), SETTINGS, "tests.no_such_module:serve")
    with pytest.raises(StageFailed, match="The load stage failed with ModuleNotFoundError: No module named"):
        await device.start()
    await device.stop()


async def test_the_child_must_come_back_the_same(opened: Open, died: list[Exception]) -> None:
    device = await opened("slow=0.5")
    waiting = asyncio.create_task(device.render(brief("a")))
    await until(lambda: device.status().running)
    queued = asyncio.create_task(device.render(brief("b")))
    await until(lambda: device.status().queued)
    other = replace(fakes.RECIPE, fingerprint="1" * 64)
    device._ready = replace(device.ready, recipe=other)
    os.kill(device.status().pid or 0, signal.SIGKILL)
    await until(lambda: died)
    assert [type(error) for error in died] == [WeightsChanged]
    assert device.status().error_message == str(WeightsChanged())
    assert device.status().state == "restarting"
    with pytest.raises(DeviceProcessDied):
        await waiting
    with pytest.raises(DeviceUnavailable, match="restart the worker"):
        await queued


async def test_a_machine_without_room_for_a_process_is_waited_out(opened: Open, died: list[Exception]) -> None:
    """For real: no file descriptor can be had for a while."""
    device = await opened()
    task = asyncio.create_task(device.render(brief("a")))
    await task
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    try:
        os.kill(device.status().pid or 0, signal.SIGKILL)
        await until(lambda: "Too many open files" in (device.status().error_message or ""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))
    assert died == []


async def test_whatever_ends_the_runner_ends_the_worker(
    opened: Open, died: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await opened()
    monkeypatch.setattr(JobQueue, "take", lambda *_: 1 / 0)
    with pytest.raises(DeviceUnavailable, match="division by zero"):
        await device.render(brief("a"))
    assert [type(error) for error in died] == [ZeroDivisionError]


async def test_a_child_that_no_signal_ends_ends_the_worker(
    opened: Open, died: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits in the kernel does not heed SIGKILL; here it is not sent."""
    monkeypatch.setattr(process, "_END_SECONDS", 0.2)
    device = await opened(deadline=0.3)
    pid = device.status().pid
    with pytest.MonkeyPatch.context() as deaf:
        for name in ("kill", "terminate"):
            deaf.setattr(SpawnProcess, name, lambda _: None)
        with pytest.raises(DeviceUnavailable, match=f"The device process {pid} has been killed and is still there"):
            await device.render(brief("a", "hang"))
        assert [type(error) for error in died] == [DeviceStuck]
        async with asyncio.timeout(3):
            await device.stop(grace=0.2)
    os.kill(pid or 0, signal.SIGKILL)
    await until(lambda: pid is not None and not exists(pid))


async def test_stop_ends_a_busy_child_and_who_waits(opened: Open) -> None:
    device = await opened()
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
