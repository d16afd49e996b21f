# ruff: noqa: ASYNC240
"""The device client: batches, shared jobs, results, progress, cancellation, training."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from models import wire_format
from models.briefs import Brief
from models.errors import NothingPassed, StageFailed
from streams.failures import DeviceProcessDied
from tests import fakes
from tests.streams.device.helpers import Open, brief, exists, ignore_checkpoint, training_job, until


async def test_a_brief_is_rendered_and_counted(open_device: Open) -> None:
    device = await open_device()
    assert device.ready == fakes.ready()
    assert await device.render(brief("a")) == fakes.rendering(brief("a"))
    status = device.status()
    assert (status.state, status.restarts, status.queued, status.running, status.finished) == ("idle", 0, 0, (), 1)
    assert status.pid is not None
    assert exists(status.pid)


async def test_neighbours_share_a_batch(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"log={tmp_path / 'log'}", linger=0.1)
    renderings = await asyncio.gather(*(device.render(brief(f"r{i}")) for i in range(6)))
    assert [rendering.request_id for rendering in renderings] == [f"r{i}" for i in range(6)]
    assert (tmp_path / "log").read_text().split() == ["r0|r1|r2|r3", "r4|r5"]


async def test_a_result_does_not_depend_on_the_batch(open_device: Open) -> None:
    device = await open_device()
    together = await asyncio.gather(*(device.render(brief(f"r{i}")) for i in range(4)))
    assert [await device.render(brief(f"r{i}")) for i in range(4)] == together


async def test_the_same_brief_twice_runs_once(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"slow=0.1,log={tmp_path / 'log'}")
    first, second = await asyncio.gather(device.render(brief("same")), device.render(brief("same")))
    assert first is second
    assert (tmp_path / "log").read_text() == "same\n"


async def test_two_briefs_of_one_request_id_each_get_their_own_pictures(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"slow=0.05,log={tmp_path / 'log'}")
    briefs = [Brief("same", prompt, "", (1, 2, 3), 1) for prompt in ("coffee", "tea", "coffee", "tea")]
    assert await asyncio.gather(*map(device.render, briefs)) == [fakes.rendering(brief) for brief in briefs]
    assert (tmp_path / "log").read_text().split() == ["coffee", "tea"]


@pytest.mark.parametrize(("word", "error"), [("reject", NothingPassed), ("fail", StageFailed)])
async def test_named_errors_reach_every_caller(open_device: Open, word: str, error: type[Exception]) -> None:
    device = await open_device()
    briefs = brief("good"), brief("bad", word), brief("bad", word)
    neighbour, failed, joined = await asyncio.gather(*map(device.render, briefs), return_exceptions=True)
    assert neighbour == fakes.rendering(brief("good"))
    assert isinstance(failed, error)
    assert joined is failed
    assert device.status().restarts == 0


async def test_the_status_keeps_every_stage_of_the_last_batch(open_device: Open) -> None:
    device = await open_device()
    assert device.status().stages == {"load": (1, 1)}
    await device.render(brief("a", "stages"))
    await until(lambda: device.status().state == "idle")
    assert list(device.status().stages.items()) == [
        (name, (2, 2)) for name in ("generate", "rerank", "upscale", "encode")
    ]
    await device.render(brief("b"))
    assert device.status().stages == {"generate": (0, 2)}, "the stages of one batch only"


async def test_a_large_picture_does_not_block_the_loop(open_device: Open) -> None:
    device = await open_device()
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


async def test_a_cancelled_job_leaves_the_queue(open_device: Open, tmp_path: Path) -> None:
    device = await open_device(f"slow=0.1,log={tmp_path / 'log'}", batch=1)
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
async def test_cancelling_one_of_two_callers_keeps_the_job(open_device: Open, queued: bool) -> None:
    device = await open_device("slow=0.1")
    ahead = [asyncio.create_task(device.render(brief("ahead")))] if queued else []
    if queued:
        await until(lambda: device.status().running)
    first, second = (asyncio.create_task(device.render(brief("same"))) for _ in range(2))
    await until(lambda: device.status().queued if queued else device.status().running)
    first.cancel()
    assert await second == fakes.rendering(brief("same"))
    await asyncio.gather(*ahead)


async def test_training_hands_over_checkpoints(open_device: Open, tmp_path: Path) -> None:
    device = await open_device()
    steps: list[int] = []

    async def record(step: int, path: Path) -> None:
        assert path.read_bytes() == f"milk at {step}".encode()
        steps.append(step)

    result = await device.train(training_job(tmp_path), record)
    assert result.steps == 5
    assert Path(result.path).read_bytes() == b"milk trained for 5 steps, from 0"
    assert steps
    assert steps == sorted(set(steps))


async def test_a_job_above_the_size_limit_fails_alone(
    open_device: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await open_device()
    monkeypatch.setattr(wire_format, "HEADER_LIMIT", 2000)
    with pytest.raises(StageFailed, match=r"send stage failed with InvalidMessage: .* exceed the limit"):
        await device.render(brief("a", "long " * 400))
    assert await device.render(brief("b")) == fakes.rendering(brief("b"))
    assert device.status().restarts == 0


async def test_training_resumes_after_a_crash(open_device: Open, tmp_path: Path) -> None:
    device = await open_device()
    with pytest.raises(DeviceProcessDied, match="1 of 3"):
        await device.train(training_job(tmp_path, class_noun="crash"), ignore_checkpoint)
    result = await device.train(training_job(tmp_path, class_noun="crash"), ignore_checkpoint)
    assert Path(result.path).read_bytes() == b"milk trained for 5 steps, from 3"


async def test_cancelled_training_stops_and_may_start_again(open_device: Open, tmp_path: Path) -> None:
    device = await open_device()
    task = asyncio.create_task(device.train(training_job(tmp_path, steps=500), ignore_checkpoint))
    await until(lambda: device.status().done >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await device.train(training_job(tmp_path, steps=8), ignore_checkpoint)
    assert not Path(result.path).read_bytes().endswith(b"from 0")
    assert device.status().restarts == 0
