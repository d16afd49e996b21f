"""The status of a device process, collected from changes of state and progress."""

from __future__ import annotations

from models.briefs import Stage
from models.wire import Progress
from streams.device.status import StatusTracker

STEPS: tuple[tuple[Stage, int, float], ...] = (("generate", 1, 2.0), ("generate", 2, 2.0), ("upscale", 1, 0.5))


def test_the_time_before_a_progress_belongs_to_its_stage() -> None:
    now = 100.0
    tracker = StatusTracker(lambda: now)
    for batch in range(2):
        tracker.change_state("busy")
        for stage, done, seconds in STEPS:
            now += seconds
            tracker.add_progress(Progress(1, stage, done, 2))
        tracker.change_state("idle")
        now += 60.0 * batch  # an idle device is in no stage
    found = tracker.snapshot(1, 0, (), 0.0).stage_seconds
    assert found == {"generate": (2, 8.0), "upscale": (2, 1.0)}
