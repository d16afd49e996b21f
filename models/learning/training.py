"""Gradient descent that can be killed at any step and resumed.

On the CPU the final weights equal those of an uninterrupted run bit for bit: each step draws from a generator seeded by
(seed, step), so no random state outlives a step, and every checkpoint holds the parameters and the optimizer's moments.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from models.briefs import Stage
from models.learning.losses import has_converged
from models.learning.training_checkpoints import Checkpoints
from models.stages import StepCallback

MEASURE_EVERY = 10
FIXED_BATCHES = 8
NOT_IN_FINGERPRINT = ("checkpoint_every", "checkpoint_seconds")


class JobReporter(Protocol):
    """Receives a training job's progress and checkpoints. `progress` raises Cancelled if the job was cancelled."""

    def progress(self, stage: Stage, done: int, total: int) -> None: ...
    def report_checkpoint(self, step: int, path: str) -> None: ...


class Learner(Protocol):
    """The parameters to train, by name, and their scalar loss on a batch that the CPU generator selects."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]: ...
    def loss(self, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. `identity` covers the other inputs (photos, model, options).

    Training writes a checkpoint every `checkpoint_every` steps and at the end. It skips one within `checkpoint_seconds`
    of the last, because a checkpoint of a large model takes seconds and gigabytes.
    """

    steps: int
    learning_rate: float
    seed: int
    identity: str
    weight_decay: float = 1e-2
    checkpoint_every: int = 100
    checkpoint_seconds: float = 60.0
    early_stopping: bool = False

    def fingerprint(self) -> str:
        """Return the identity of the run. Training resumes only from checkpoints with the same identity.

        The checkpoint intervals are not part of it.
        """
        decisive = {key: value for key, value in asdict(self).items() if key not in NOT_IN_FINGERPRINT}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingHistory:
    """The steps and losses of a finished run, including those before interruptions.

    losses: of every step. fixed_losses: of the fixed batch, measured every MEASURE_EVERY steps for early stopping.
    """

    steps: int
    losses: tuple[float, ...]
    fixed_losses: tuple[float, ...]


def train(learner: Learner, schedule: Schedule, folder: Path, reporter: JobReporter) -> TrainingHistory:
    """Train `learner.parameters` with AdamW (Loshchilov and Hutter 2019), resuming from a checkpoint in `folder`.

    Raises TrainingDiverged, and whatever `reporter.progress` raises (Cancelled). Checkpoints stay, so another worker
    can resume.
    """
    optimizer = torch.optim.AdamW(
        list(learner.parameters.values()), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    checkpoints = Checkpoints(folder, schedule.fingerprint(), learner.parameters, optimizer)
    losses, fixed_losses = checkpoints.restore(partial(reporter.progress, "load"))

    def still_at(step: int) -> StepCallback:
        return lambda _bytes, _total: reporter.progress("train", step, schedule.steps)

    done = saved = len(losses)
    saved_at = time.monotonic()
    while done < schedule.steps and not (schedule.early_stopping and has_converged(torch.tensor(fixed_losses))):
        reporter.progress("train", done, schedule.steps)
        losses.append(_step(learner, optimizer, generator_for(schedule.seed, done)))
        done += 1
        if schedule.early_stopping and done % MEASURE_EVERY == 0:
            fixed_losses.append(_fixed_loss(learner, schedule.seed))
        if done % schedule.checkpoint_every == 0 and time.monotonic() - saved_at >= schedule.checkpoint_seconds:
            reporter.report_checkpoint(done, str(checkpoints.save(losses, fixed_losses, still_at(done))))
            saved, saved_at = done, time.monotonic()
    if done > saved:
        reporter.report_checkpoint(done, str(checkpoints.save(losses, fixed_losses, still_at(done))))
    reporter.progress("train", done, schedule.steps)
    return TrainingHistory(done, tuple(torch.stack(losses).tolist()) if losses else (), tuple(fixed_losses))


def generator_for(seed: int, *place: int | str) -> torch.Generator:
    """Return a CPU generator for one place in a run, such as a step. Equal arguments give equal numbers."""
    digest = hashlib.sha256(":".join(map(str, (seed, *place))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _step(learner: Learner, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> Tensor:
    loss = learner.loss(generator)
    loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


@torch.no_grad()
def _fixed_loss(learner: Learner, seed: int) -> float:
    losses = [learner.loss(generator_for(seed, "fixed", number)) for number in range(FIXED_BATCHES)]
    return float(torch.stack(losses).mean())
