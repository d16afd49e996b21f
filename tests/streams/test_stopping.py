"""A stop signal at every moment of a worker's life ends it in time, with exit code 0 and without noise."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams import app as app_module
from streams.app import create_app
from streams.settings import Settings
from tests.streams.cli.processes import CREATIVES, ROOT, environment

WORKER = [*CREATIVES, "worker", "--role", "render"]


def stop_when(reached: Callable[[int, str], bool], number: signal.Signals, log: Path) -> tuple[int, float, str]:
    """Start a worker and signal it once `reached(pid, log)`. Return its exit code, the seconds to its end and its log."""
    with (
        log.open("w") as output,
        subprocess.Popen(
            WORKER,
            env=environment(CREATIVES_WEB__PORT="0"),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as worker,
    ):
        give_up = time.monotonic() + 120
        while not reached(worker.pid, log.read_text()):
            assert time.monotonic() < give_up
            assert worker.poll() is None
            time.sleep(0.005)
        began = time.monotonic()
        worker.send_signal(number)
        code = worker.wait(60)
    return code, time.monotonic() - began, log.read_text()


def handles_signals(pid: int, _: str) -> bool:
    """Return whether the process has installed a handler for SIGTERM."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_still_imports_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    code, seconds, log = stop_when(handles_signals, number, tmp_path / "log")
    assert (code, log) == (0, "")
    assert seconds < 3


def test_a_worker_that_loads_its_models_stops_at_once(tmp_path: Path) -> None:
    code, seconds, log = stop_when(lambda _, log: "loading the models" in log, signal.SIGTERM, tmp_path / "log")
    assert code == 0
    assert seconds < 3
    assert " ".join(log.splitlines()[-1].split()[1:]) == "[info ] stopped at once signal=SIGTERM"
    assert "Traceback" not in log


class Exited(BaseException):
    pass


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The forced exits that a worker asked for: (seconds, code), or `now`."""
    asked: list[Any] = []

    def exit_now() -> None:
        asked.append("now")
        raise Exited

    monkeypatch.setattr(app_module, "exit_now", exit_now)
    monkeypatch.setattr(app_module, "exit_within", lambda seconds, code: asked.append((seconds, code)))
    return asked


async def test_the_first_signal_drains_within_a_deadline_and_the_second_exits(exits: list[Any]) -> None:
    settings = Settings(delivery={"drain": 7.0})
    worker = create_app(settings).Worker(quiet=True)
    assert isinstance(worker, app_module.CreativesWorker), "`faust -A streams.worker worker` runs it too"
    stops: list[signal.Signals] = []

    async def stop_on_signal(number: signal.Signals) -> None:
        stops.append(number)

    worker._stop_on_signal = stop_on_signal
    with pytest.raises(Exited):
        worker._on_sigterm()
    assert exits == ["now"], "it takes no events yet, so there is nothing to finish"
    exits.clear()
    worker.app.runtime.view = SimpleNamespace(loaded=True)
    worker._on_sigterm()
    assert exits == [(11.5, 0)]
    with pytest.raises(Exited):
        worker._on_sigint()
    await worker._signal_stop_future
    assert (exits, stops) == ([(11.5, 0), "now"], [signal.SIGTERM])
