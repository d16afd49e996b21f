"""The state of the device process as /status, the metrics and the progress bars show it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from models.wire import Progress

DeviceState = Literal["stopped", "loading", "idle", "busy", "restarting"]


@dataclass(frozen=True)
class DeviceStatus:
    """The device process and its queue at one moment.

    restarts: how often the child was replaced. queued, running: jobs. oldest_seconds: age of the oldest unfinished job.
    finished: answered jobs. stage, done, total: of the running batch.
    stages: done and total of every stage that the running batch has reached, in order; of the last batch if none is
    running, since a short stage may begin and end between two updates.
    stage_seconds: batches and total seconds of every stage since the start, for averages.
    error_message: why there is no working child; None if there is one.
    isolation: what the kernel refuses the child: `network`, `new_privileges`; see `models.isolation`.
    """

    state: DeviceState
    pid: int | None
    restarts: int
    queued: int
    running: tuple[str, ...]
    oldest_seconds: float
    finished: int
    stage: str | None = None
    done: int = 0
    total: int = 0
    stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    stage_seconds: dict[str, tuple[int, float]] = field(default_factory=dict)
    error_message: str | None = None
    isolation: tuple[str, ...] = ()


class StatusTracker:
    """Collects what DeviceStatus shows, as the device client works."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_at = clock()
        self._stage_seconds: dict[str, tuple[int, float]] = {}
        self.state: DeviceState = "stopped"
        self.error_message: str | None = None
        self.isolation: tuple[str, ...] = ()
        self.restarts = 0
        self.finished = 0
        self._progress: Progress | None = None
        self._stages: dict[str, tuple[int, int]] = {}

    def change_state(self, state: DeviceState) -> None:
        """Enter a state. A new batch starts without progress and stages; without a batch there is no progress."""
        self.state = state
        self._moved_at = self._clock()
        if state in {"idle", "busy", "stopped"}:
            self._progress = None
        if state == "busy":
            self._stages = {}

    def add_progress(self, progress: Progress) -> None:
        """Record how far a stage is. The time since the last change of state or progress belongs to this stage."""
        now = self._clock()
        batches, seconds = self._stage_seconds.get(progress.stage, (0, 0.0))
        batches += progress.stage not in self._stages
        self._stage_seconds[progress.stage] = batches, seconds + now - self._moved_at
        self._moved_at = now
        self._progress = progress
        self._stages[progress.stage] = progress.done, progress.total

    def snapshot(self, pid: int | None, queued: int, running: tuple[str, ...], oldest_seconds: float) -> DeviceStatus:
        """Return the status at this moment."""
        progress = self._progress
        return DeviceStatus(
            state=self.state,
            pid=pid,
            restarts=self.restarts,
            queued=queued,
            running=running,
            oldest_seconds=oldest_seconds,
            finished=self.finished,
            stage=progress.stage if progress else None,
            done=progress.done if progress else 0,
            total=progress.total if progress else 0,
            stages=dict(self._stages),
            stage_seconds=dict(self._stage_seconds),
            error_message=self.error_message,
            isolation=self.isolation,
        )
