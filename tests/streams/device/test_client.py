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

from models.briefs import Brief, Lesson, StudioPlan
from models.errors import Cancelled, DeviceUnavailable, NothingPassed, StageFailed, WeightsNotFound
from streams.device import process
from streams.device.client import Lane
from streams.device.jobs import JobQueue
from streams.failures import DeviceProcessDied, DeviceStuck, WeightsChanged
from streams.settings import LaneSettings
from tests import fakes

SETTINGS = LaneSettings(linger=0.02, batch=4, start_deadline=20, deadline=20, deaths=3)
Open = Callable[..., Awaitable[Lane]]


def brief(name: str, prompt: str = "") -> Brief:
    return Brief(name, f"{name} {prompt}".strip(), "", (1, 2, 3), 1)


def lesson(tmp_path: Path, **changes: object) -> Lesson:
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
    return Lesson(**(given | changes))


@pytest.fixture
def died() -> list[Exception]:
    """What the lanes died of."""
    return []


@pytest.fixture
async def opened(died: list[Exception]) -> AsyncIterator[Open]:
    lanes: list[Lane] = []

    async def open_lane(script: str = "fake", **changes: float) -> Lane:
        plan = StudioPlan(diffusion=script)
        lane = Lane(plan, SETTINGS.model_copy(update=changes), "tests.fakes:serve", died.append)
        lanes.append(lane)
        await lane.start()
        return lane

    yield open_lane
    for lane in lanes:
        pid = lane.status().pid
        await lane.stop(grace=0.2)
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
    lane = await opened()
    assert lane.ready == fakes.ready()
    assert await lane.render(brief("a")) == fakes.rendering(brief("a"))
    status = lane.status()
    assert (status.state, status.restarts, status.queued, status.running, status.finished) == ("idle", 0, 0, (), 1)
    assert status.pid is not None
    assert exists(status.pid)


async def test_gathers_neighbours_into_batches(opened: Open, tmp_path: Path) -> None:
    lane = await opened(f"log={tmp_path / 'log'}", linger=0.1)
    renderings = await asyncio.gather(*(lane.render(brief(f"r{i}")) for i in range(6)))
    assert [rendering.request_id for rendering in renderings] == [f"r{i}" for i in range(6)]
    assert (tmp_path / "log").read_text().split() == ["r0|r1|r2|r3", "r4|r5"]


async def test_a_result_does_not_depend_on_the_batch(opened: Open) -> None:
    lane = await opened()
    together = await asyncio.gather(*(lane.render(brief(f"r{i}")) for i in range(4)))
    assert [await lane.render(brief(f"r{i}")) for i in range(4)] == together


async def test_joins_a_request_in_flight(opened: Open, tmp_path: Path) -> None:
    lane = await opened(f"slow=0.1,log={tmp_path / 'log'}")
    first, second = await asyncio.gather(lane.render(brief("same")), lane.render(brief("same")))
    assert first is second
    assert (tmp_path / "log").read_text() == "same\n"


async def test_two_briefs_of_one_request_id_each_get_their_own(opened: Open, tmp_path: Path) -> None:
    lane = await opened(f"slow=0.05,log={tmp_path / 'log'}")
    briefs = [Brief("same", prompt, "", (1, 2, 3), 1) for prompt in ("coffee", "tea", "coffee", "tea")]
    assert await asyncio.gather(*map(lane.render, briefs)) == [fakes.rendering(brief) for brief in briefs]
    assert (tmp_path / "log").read_text().split() == ["coffee", "tea"]


@pytest.mark.parametrize(("word", "error"), [("reject", NothingPassed), ("fail", StageFailed)])
async def test_named_errors_arrive(opened: Open, word: str, error: type[Exception]) -> None:
    lane = await opened()
    work = brief("good"), brief("bad", word), brief("bad", word)
    neighbour, failed, joined = await asyncio.gather(*map(lane.render, work), return_exceptions=True)
    assert neighbour == fakes.rendering(brief("good"))
    assert isinstance(failed, error)
    assert joined is failed
    assert lane.status().restarts == 0


async def test_a_crash_blames_the_one_that_ran_alone(opened: Open) -> None:
    lane = await opened(deaths=2)
    for deaths in (1, 2, 1):
        with pytest.raises(DeviceProcessDied, match="was killed by SIGKILL while it worked on a ") as caught:
            await lane.render(brief("a", "crash"))
        assert (caught.value.fields["deaths"], caught.value.fields["limit"]) == (deaths, 2)
    assert await lane.render(brief("b")) == fakes.rendering(brief("b"))
    assert lane.status().restarts == 3


async def test_of_a_lost_batch_only_the_killer_is_blamed(opened: Open, tmp_path: Path) -> None:
    lane = await opened(f"log={tmp_path / 'log'}")
    names = ["a", "b crash", "c", "d"]
    ends = await asyncio.gather(*(lane.render(brief(name)) for name in names), return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["Rendering", "DeviceProcessDied", "Rendering", "Rendering"]
    assert (tmp_path / "log").read_text().splitlines() == ["a|b crash|c|d", "b crash", "c", "d"]
    assert lane.status().restarts == 2


async def test_a_suspect_runs_alone_and_is_forgiven(opened: Open, tmp_path: Path) -> None:
    lane = await opened(f"once={tmp_path / 'once'},log={tmp_path / 'log'}")
    with pytest.raises(DeviceProcessDied, match="exited with status 7"):
        await lane.render(brief("a", "exit"))
    await asyncio.gather(lane.render(brief("b")), lane.render(brief("a", "exit")), lane.render(brief("c")))
    await asyncio.gather(lane.render(brief("b")), lane.render(brief("a", "exit")))
    assert (tmp_path / "log").read_text().splitlines() == ["a exit", "b", "a exit", "c", "b|a exit"]


async def test_a_hang_is_killed_at_its_deadline(opened: Open) -> None:
    lane = await opened(deadline=0.3)
    pid = lane.status().pid
    began = time.monotonic()
    with pytest.raises(DeviceProcessDied, match=r"gave no sign of progress for 0\.3 s and was killed"):
        await lane.render(brief("a", "hang"))
    assert time.monotonic() - began < 2
    assert pid is not None
    assert not exists(pid)


async def test_signs_of_life_move_the_deadline(opened: Open) -> None:
    lane = await opened(deadline=0.4)
    task = asyncio.create_task(lane.render(brief("a", "ticks")))
    await until(lambda: lane.status().done == 3)
    assert (lane.status().state, lane.status().stage, lane.status().total) == ("busy", "generate", 6)
    await task
    assert lane.status().restarts == 0


async def test_every_stage_of_the_last_batch_is_remembered(opened: Open) -> None:
    lane = await opened()
    assert lane.status().stages == {"load": (1, 1)}
    await lane.render(brief("a", "stages"))
    await until(lambda: lane.status().state == "idle")
    assert list(lane.status().stages.items()) == [
        (name, (2, 2)) for name in ("generate", "rerank", "upscale", "encode")
    ]
    await lane.render(brief("b"))
    assert lane.status().stages == {"generate": (0, 2)}, "of one batch only"


async def test_a_stopped_child_is_killed_too(opened: Open) -> None:
    """SIGSTOP is what a process looks like that waits for a broken driver."""
    lane = await opened("slow=0.2", deadline=0.5)
    task = asyncio.create_task(lane.render(brief("a")))
    await until(lambda: lane.status().state == "busy")
    os.kill(lane.status().pid or 0, signal.SIGSTOP)
    with pytest.raises(DeviceProcessDied):
        await task


async def test_a_blocked_loop_is_not_the_childs_fault(opened: Open) -> None:
    lane = await opened("slow=0.1", deadline=0.4)
    task = asyncio.create_task(lane.render(brief("a")))
    await until(lambda: lane.status().stage == "generate")
    time.sleep(0.8)
    await task
    assert lane.status().restarts == 0


async def test_an_idle_death_is_mended(opened: Open) -> None:
    lane = await opened()
    pid = lane.status().pid
    os.kill(pid or 0, signal.SIGKILL)
    await until(lambda: lane.status().restarts == 1)
    assert await lane.render(brief("a")) == fakes.rendering(brief("a"))
    assert lane.status().pid != pid


@pytest.mark.parametrize("word", ["unpicklable", "forget"])
async def test_a_child_that_answers_nonsense_or_nothing_is_ended(opened: Open, word: str) -> None:
    lane = await opened(deadline=0.3)
    with pytest.raises(DeviceProcessDied):
        await lane.render(brief("a", word))
    assert await lane.render(brief("b")) == fakes.rendering(brief("b"))


async def test_large_pictures_pass_and_the_loop_goes_on(opened: Open) -> None:
    lane = await opened()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    result = await lane.render(brief("a", "big"))
    ticking.cancel()
    assert len(result.pictures[0].content) == 20_000_000
    assert longest < 0.3


async def test_cancelling_drops_what_is_queued(opened: Open, tmp_path: Path) -> None:
    lane = await opened(f"slow=0.1,log={tmp_path / 'log'}", batch=1)
    running = asyncio.create_task(lane.render(brief("running")))
    await until(lambda: lane.status().running)
    queued = asyncio.create_task(lane.render(brief("queued")))
    await until(lambda: lane.status().queued)
    queued.cancel()
    await until(lambda: lane.status().queued == 0)
    await running
    await lane.render(brief("next"))
    assert (tmp_path / "log").read_text().split() == ["running", "next"]


@pytest.mark.parametrize("queued", [False, True])
async def test_cancelling_one_of_two_keeps_the_job(opened: Open, queued: bool) -> None:
    lane = await opened("slow=0.1")
    ahead = [asyncio.create_task(lane.render(brief("ahead")))] if queued else []
    if queued:
        await until(lambda: lane.status().running)
    first, second = (asyncio.create_task(lane.render(brief("same"))) for _ in range(2))
    await until(lambda: lane.status().queued if queued else lane.status().running)
    first.cancel()
    assert await second == fakes.rendering(brief("same"))
    await asyncio.gather(*ahead)


async def test_learns_with_checkpoints(opened: Open, tmp_path: Path) -> None:
    lane = await opened()
    seen: list[int] = []

    async def keep(step: int, path: Path) -> None:
        assert path.read_bytes() == f"milk at {step}".encode()
        seen.append(step)

    learned = await lane.learn(lesson(tmp_path), keep)
    assert learned.steps == 5
    assert Path(learned.path).read_bytes() == b"milk learned in 5, from 0"
    assert seen
    assert seen == sorted(set(seen))


async def test_a_lesson_resumes_after_a_crash(opened: Open, tmp_path: Path) -> None:
    lane = await opened()

    async def keep(step: int, path: Path) -> None: ...

    with pytest.raises(DeviceProcessDied, match="1 of 3"):
        await lane.learn(lesson(tmp_path, class_noun="crash"), keep)
    learned = await lane.learn(lesson(tmp_path, class_noun="crash"), keep)
    assert Path(learned.path).read_bytes() == b"milk learned in 5, from 3"


async def test_a_cancelled_lesson_ends_and_may_be_asked_again(opened: Open, tmp_path: Path) -> None:
    lane = await opened()

    async def keep(step: int, path: Path) -> None: ...

    task = asyncio.create_task(lane.learn(lesson(tmp_path, steps=500), keep))
    await until(lambda: lane.status().done >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    learned = await lane.learn(lesson(tmp_path, steps=8), keep)
    assert not Path(learned.path).read_bytes().endswith(b"from 0")
    assert lane.status().restarts == 0


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("missing", WeightsNotFound, "No weights for diffusion at missing: put it there"),
        ("dies", DeviceUnavailable, "its process exited with status 3 while it loaded the models"),
        ("lies", DeviceUnavailable, "did not say that it is ready"),
    ],
)
async def test_start_raises_the_childs_error(opened: Open, script: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await opened(script)


async def test_a_start_that_failed_may_be_tried_again(opened: Open, tmp_path: Path) -> None:
    lane = Lane(StudioPlan(diffusion=f"shy={tmp_path / 'seen'}"), SETTINGS, "tests.fakes:serve")
    with pytest.raises(WeightsNotFound):
        await lane.start()
    status = lane.status()
    assert (status.state, status.pid) == ("stopped", None)
    assert status.trouble is not None
    assert "No weights for diffusion" in status.trouble
    await lane.start()
    assert await lane.render(brief("a")) == fakes.rendering(brief("a"))
    assert lane.status().trouble is None
    await lane.stop(grace=0.2)


async def test_a_start_that_is_given_up_leaves_no_child(tmp_path: Path) -> None:
    lane = Lane(StudioPlan(diffusion="silent"), SETTINGS, "tests.fakes:serve")
    starting = asyncio.create_task(lane.start())
    await until(lambda: lane.status().pid)
    pid = lane.status().pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert lane.status().state == "stopped"
    assert pid is not None
    assert not exists(pid)


async def test_start_has_a_deadline(opened: Open) -> None:
    with pytest.raises(DeviceUnavailable, match=r"not ready within 0\.3 s"):
        await opened("silent", start_deadline=0.3)


async def test_a_missing_entry_is_a_clear_error() -> None:
    lane = Lane(StudioPlan(), SETTINGS, "tests.no_such_module:serve")
    with pytest.raises(StageFailed, match="The load stage failed with ModuleNotFoundError: No module named"):
        await lane.start()
    await lane.stop()


async def test_the_child_must_come_back_the_same(opened: Open, died: list[Exception]) -> None:
    lane = await opened("slow=0.5")
    waiting = asyncio.create_task(lane.render(brief("a")))
    await until(lambda: lane.status().running)
    queued = asyncio.create_task(lane.render(brief("b")))
    await until(lambda: lane.status().queued)
    other = replace(fakes.RECIPE, fingerprint="1" * 64)
    lane._ready = replace(lane.ready, recipe=other)
    os.kill(lane.status().pid or 0, signal.SIGKILL)
    await until(lambda: died)
    assert [type(error) for error in died] == [WeightsChanged]
    assert lane.status().trouble == str(WeightsChanged())
    assert lane.status().state == "restarting"
    with pytest.raises(DeviceProcessDied):
        await waiting
    with pytest.raises(DeviceUnavailable, match="restart the worker"):
        await queued


async def test_a_machine_without_room_for_a_process_is_waited_out(opened: Open, died: list[Exception]) -> None:
    """For real: no file descriptor can be had for a while."""
    lane = await opened()
    task = asyncio.create_task(lane.render(brief("a")))
    await task
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    try:
        os.kill(lane.status().pid or 0, signal.SIGKILL)
        await until(lambda: "Too many open files" in (lane.status().trouble or ""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    assert await lane.render(brief("b")) == fakes.rendering(brief("b"))
    assert died == []


async def test_whatever_ends_the_runner_ends_the_worker(
    opened: Open, died: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await opened()
    monkeypatch.setattr(JobQueue, "take", lambda *_: 1 / 0)
    with pytest.raises(DeviceUnavailable, match="division by zero"):
        await lane.render(brief("a"))
    assert [type(error) for error in died] == [ZeroDivisionError]


async def test_a_child_that_no_signal_ends_ends_the_worker(
    opened: Open, died: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits in the kernel does not heed SIGKILL; here it is not sent."""
    monkeypatch.setattr(process, "_END_SECONDS", 0.2)
    lane = await opened(deadline=0.3)
    pid = lane.status().pid
    with pytest.MonkeyPatch.context() as deaf:
        for name in ("kill", "terminate"):
            deaf.setattr(SpawnProcess, name, lambda _: None)
        with pytest.raises(DeviceUnavailable, match=f"The device process {pid} has been killed and is still there"):
            await lane.render(brief("a", "hang"))
        assert [type(error) for error in died] == [DeviceStuck]
        async with asyncio.timeout(3):
            await lane.stop(grace=0.2)
    os.kill(pid or 0, signal.SIGKILL)
    await until(lambda: pid is not None and not exists(pid))


async def test_stop_ends_a_busy_child_and_who_waits(opened: Open) -> None:
    lane = await opened()
    tasks = [asyncio.create_task(lane.render(brief(name))) for name in ("a hang", "b")]
    await until(lambda: lane.status().running)
    tasks.append(asyncio.create_task(lane.render(brief("c"))))
    pid = lane.status().pid
    await asyncio.sleep(0.05)
    await lane.stop(grace=0.1)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [Cancelled] * 3
    assert pid is not None
    assert not exists(pid)
    assert lane.status().state == "stopped"


PARENT = """
import asyncio, sys
from models.briefs import Brief, StudioPlan
from streams.device.client import Lane
from streams.settings import LaneSettings
async def main():
    lane = Lane(StudioPlan(diffusion="fake"), LaneSettings(), "tests.fakes:serve")
    await lane.start()
    print(lane.status().pid, flush=True)
    await lane.render(Brief("a", "hang", "", (1,), 1))
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
