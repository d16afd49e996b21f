"""The messages over the pipe between worker and device process; `ticket` pairs an answer with its job.

`models.wire_format` turns them into bytes. StudioPlan, StudioReady, DeviceProbe and named errors cross the pipe too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from models import errors
from models.briefs import Brief, Rendering, Stage, TrainingJob, TrainingResult
from models.errors import CreativesError, StageFailed, first_line

ERRORS = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}
"""The errors that cross the pipe, by class name."""


def _error_to_fields(error: CreativesError) -> dict[str, Any]:
    """Return an error as plain values. An error of another module crosses as StageFailed."""
    if ERRORS.get(type(error).__name__) is not type(error):
        error = StageFailed(stage="answer", kind=type(error).__name__, detail=first_line(error))
    fields = {name: value if isinstance(value, int | float) else str(value) for name, value in error.fields.items()}
    return {"name": type(error).__name__, "fields": fields}


def _error_from_fields(value: Any) -> CreativesError:
    """Return a named error. Raises ValueError, TypeError, AttributeError or LookupError if `value` describes none."""
    fields = value["fields"]
    if not all(isinstance(field, str | int | float) for field in fields.values()):
        raise ValueError("a field of the error is neither a text nor a number")
    error: CreativesError = ERRORS[value["name"]](**fields)
    str(error)  # raises here rather than where somebody prints the error
    return error


NamedError = Annotated[CreativesError, PlainValidator(_error_from_fields), PlainSerializer(_error_to_fields)]


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
    """The result of one brief or training job, or its named error. Each request of a job gets one.

    crowded: another process has taken memory of the device since this one was ready. It explains OutOfDeviceMemory.
    """

    ticket: int
    request_id: str
    result: Rendering | TrainingResult | None
    error: NamedError | None = None
    crowded: bool = False
