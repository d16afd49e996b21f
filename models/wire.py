"""The messages over the pipe between worker and device process; `ticket` pairs an answer with its job."""

from __future__ import annotations

from dataclasses import dataclass

from models.briefs import Brief, Rendering, Stage, TrainingJob, TrainingResult


@dataclass(frozen=True)
class Render:
    """Render these briefs as one batch."""

    ticket: int
    briefs: tuple[Brief, ...]


@dataclass(frozen=True)
class Train:
    """Train one product."""

    ticket: int
    training_job: TrainingJob


@dataclass(frozen=True)
class Cancel:
    """End the job of this ticket at its next step; its open requests are answered with `models.errors.Cancelled`."""

    ticket: int


@dataclass(frozen=True)
class Stop:
    """Exit after the jobs in the queue."""


@dataclass(frozen=True)
class Progress:
    """Progress of one stage, in the stage's own units: done <= total. Each one restarts the watchdog's deadline."""

    ticket: int
    stage: Stage
    done: int
    total: int


@dataclass(frozen=True)
class Checkpointed:
    """The file `path` in the training job's workdir holds its complete state after `step`."""

    ticket: int
    step: int
    path: str


@dataclass(frozen=True)
class Answer:
    """The result of one brief or training job, or its named error. Each request of a job gets one."""

    ticket: int
    request_id: str
    result: Rendering | TrainingResult | None
    error: Exception | None = None
