"""The messages over the pipe, worker to device process and back; `ticket` pairs an answer with its job."""

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
    """Learn one product."""

    ticket: int
    training_job: TrainingJob


@dataclass(frozen=True)
class Cancel:
    """Give up the job of this ticket at the next step; its requests are answered with `models.errors.Cancelled`."""

    ticket: int


@dataclass(frozen=True)
class Stop:
    """Finish what is running and exit."""


@dataclass(frozen=True)
class Progress:
    """A sign of life: the watchdog resets its deadline, bars move. done <= total, in the stage's own units."""

    ticket: int
    stage: Stage
    done: int
    total: int


@dataclass(frozen=True)
class Checkpointed:
    """The lesson's state after `step` lies complete in `path` (a file in its workdir)."""

    ticket: int
    step: int
    path: str


@dataclass(frozen=True)
class Answer:
    """The end of one brief or lesson: a result, or a named error. One per request of the job."""

    ticket: int
    request_id: str
    result: Rendering | TrainingResult | None
    error: Exception | None = None
