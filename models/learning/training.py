"""Gradient descent that can be killed at any step: on the CPU the final weights are the same bit for bit.

Nothing random survives a step: each draws from a generator seeded by (seed, step). What does survive, the weights and
the optimizer's two moments, is in every checkpoint, written beside its final name and then moved there; and so are the
losses so far, which decide nothing. A state that is no number is never written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from models.briefs import Stage
from models.errors import TrainingDiverged
from models.learning.losses import settled
from models.weights.tensor_file import write_tensors

MEASURE_EVERY = 10
FIXED_DRAWS = 8
CHECKPOINTS = "checkpoint-*.safetensors"
LOSSES = "losses"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
PACE = ("checkpoint_every", "checkpoint_seconds")


class Report(Protocol):
    """Who hears how far we are. `progress` raises Cancelled when the job was given up."""

    def progress(self, stage: Stage, done: int, total: int) -> None: ...
    def checkpointed(self, step: int, path: str) -> None: ...


class Learner(Protocol):
    """What moves, by name, and how far off it is on a batch drawn with `generator` (a CPU generator)."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]: ...
    def loss(self, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. `identity` names everything else that decides the result (photos, weights, settings).

    A checkpoint is written at a multiple of `checkpoint_every` steps, once `checkpoint_seconds` have passed since the
    last one (a large model's takes seconds and gigabytes), and at the end.
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
        """Return what a checkpoint must agree with to be continued; how often it is written does not matter."""
        decisive = {key: value for key, value in asdict(self).items() if key not in PACE}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Course:
    """A finished training. losses: of all its steps, whoever took them; measured: the fixed batch's."""

    steps: int
    losses: tuple[float, ...]
    measured: tuple[float, ...]


def train(learner: Learner, schedule: Schedule, folder: Path, report: Report) -> Course:
    """Move `learner.parameters` by AdamW (Loshchilov and Hutter 2019), going on from the newest checkpoint in `folder`.

    Raises TrainingDiverged, and what `report.progress` raises (Cancelled); checkpoints stay for the next owner.
    """
    optimizer = torch.optim.AdamW(
        list(learner.parameters.values()), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    checkpoints = Checkpoints(folder, schedule.fingerprint(), learner.parameters, optimizer)
    losses, measured = checkpoints.restore()
    done = saved = len(losses)
    last = time.monotonic()
    while done < schedule.steps and not (schedule.early_stopping and settled(torch.tensor(measured))):
        report.progress("train", done, schedule.steps)
        losses.append(_step(learner, optimizer, generator_for(schedule.seed, done)))
        done += 1
        if schedule.early_stopping and done % MEASURE_EVERY == 0:
            measured.append(_fixed_loss(learner, schedule.seed))
        if done % schedule.checkpoint_every == 0 and time.monotonic() - last >= schedule.checkpoint_seconds:
            report.checkpointed(done, str(checkpoints.save(losses, measured)))
            saved, last = done, time.monotonic()
    if done > saved:
        report.checkpointed(done, str(checkpoints.save(losses, measured)))
    report.progress("train", done, schedule.steps)
    return Course(done, tuple(torch.stack(losses).tolist()) if losses else (), tuple(measured))


def generator_for(seed: int, *place: int | str) -> torch.Generator:
    """Return a CPU generator for one place in a run, such as a step; equal places draw equally in any process."""
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
    draws = [learner.loss(generator_for(seed, "fixed", draw)) for draw in range(FIXED_DRAWS)]
    return float(torch.stack(draws).mean())


@dataclass(frozen=True)
class Checkpoints:
    """Everything a run needs to go on, one file per checkpoint in `folder`; only the newest is kept."""

    folder: Path
    fingerprint: str
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer

    def save(self, losses: Sequence[Tensor], measured: list[float]) -> Path:
        """Write the state after the steps that had these losses, and remove the older ones. Raises TrainingDiverged."""
        done = len(losses)
        tensors = {f"parameter.{name}": parameter.detach() for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"{moment}.{name}": self.optimizer.state[parameter][moment] for moment in MOMENTS}
        if not finite(tensors.values()):
            raise TrainingDiverged(when=f"within {done} steps", detail="a weight is no number: lower the learning rate")
        tensors[LOSSES] = torch.stack(list(losses))
        path = self.folder / f"checkpoint-{done:06d}.safetensors"
        write_tensors(
            tensors, path, {"step": str(done), "fingerprint": self.fingerprint, "measured": json.dumps(measured)}
        )
        for older in self.folder.glob(CHECKPOINTS):
            if older < path:
                older.unlink()
        return path

    def restore(self) -> tuple[list[Tensor], list[float]]:
        """Return the losses of the steps taken, and those measured, so far; both empty where no checkpoint fits."""
        for torn in self.folder.glob("checkpoint-*.part"):
            torn.unlink()
        for path in sorted(self.folder.glob(CHECKPOINTS), reverse=True):
            with suppress(SafetensorError, OSError), safe_open(path, framework="pt", device="cpu") as file:
                meta = file.metadata() or {}
                if meta.get("fingerprint") == self.fingerprint:
                    tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
                    device = next(iter(self.parameters.values())).device
                    losses = list(tensors.pop(LOSSES).to(device).unbind())
                    self._fill(tensors)
                    return losses, list(json.loads(meta["measured"]))
        return [], []

    @torch.no_grad()
    def _fill(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"parameter.{name}"])
            step, *moments = (tensors[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS)
            # In the parameter's own memory format: the fused step walks the memory of all three side by side.
            laid_out = [torch.empty_like(parameter).copy_(moment) for moment in moments]
            self.optimizer.state[parameter] = dict(zip(MOMENTS, (step, *laid_out), strict=True))


def finite(tensors: Iterable[Tensor]) -> bool:
    """Tell whether every value of every tensor is a number; waits for the device once."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def batches(total: int, size: int) -> Iterator[range]:
    """Yield ranges that cover 0..total in steps of `size`; the last may be shorter."""
    for start in range(0, total, size):
        yield range(start, min(start + size, total))
