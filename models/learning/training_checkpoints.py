"""Checkpoints of a training run: the trained parameters, AdamW's moments, and the losses so far.

A checkpoint file is complete or absent, and never holds a value that is not a finite number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from models.errors import TrainingDiverged
from models.local_files import delete_partials
from models.stages import StepCallback, ignore_steps
from models.weights.tensor_file import write_tensors

CHECKPOINTS = "checkpoint-*.safetensors"
LOSSES = "losses"
# What a damaged or foreign checkpoint makes the reader raise.
_UNUSABLE = (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError)
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in `folder`; only the newest is kept. fingerprint: identifies their run."""

    folder: Path
    fingerprint: str
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer

    def save(self, losses: Sequence[Tensor], fixed_losses: list[float], report: StepCallback = ignore_steps) -> Path:
        """Write the state after len(losses) steps and remove older checkpoints.

        report: called with bytes done and in total. Raises TrainingDiverged, ScratchDiskUnusable, and what it raises.
        """
        step = len(losses)
        tensors = {f"parameter.{name}": parameter.detach() for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"{moment}.{name}": self.optimizer.state[parameter][moment] for moment in MOMENTS}
        if not all_finite(tensors.values()):
            detail = "a weight is not a finite number; lower the learning rate"
            raise TrainingDiverged(when=f"within {step} steps", detail=detail)
        tensors[LOSSES] = torch.stack(list(losses))
        path = self.folder / f"checkpoint-{step:06d}.safetensors"
        meta = {"step": str(step), "fingerprint": self.fingerprint, "measured": json.dumps(fixed_losses)}
        write_tensors(tensors, path, meta, report)
        for older in self.folder.glob(CHECKPOINTS):
            if older < path:
                older.unlink()
        return path

    def restore(self, report: StepCallback = ignore_steps) -> tuple[list[Tensor], list[float]]:
        """Load the newest readable checkpoint of this run. Returns the losses of all steps and of the fixed batch.

        Both lists are empty if there is none. report: called with tensors read and in total.
        """
        delete_partials(self.folder)
        for path in sorted(self.folder.glob(CHECKPOINTS), reverse=True):
            with suppress(*_UNUSABLE), safe_open(path, framework="pt", device="cpu") as file:
                meta = file.metadata() or {}
                if meta.get("fingerprint") == self.fingerprint:
                    tensors = _read_tensors(file, report)
                    device = next(iter(self.parameters.values())).device
                    losses = list(tensors.pop(LOSSES).to(device).unbind())
                    fixed_losses = [float(loss) for loss in json.loads(meta["measured"])]
                    self._check(tensors)
                    self._load(tensors)
                    return losses, fixed_losses
        return [], []

    def _check(self, tensors: dict[str, Tensor]) -> None:
        """Raise ValueError or KeyError before anything is changed, if a tensor is missing or has another shape."""
        for name, parameter in self.parameters.items():
            for tensor in (tensors[f"parameter.{name}"], *(tensors[f"{moment}.{name}"] for moment in MOMENTS)):
                if tensor.dim() and tensor.shape != parameter.shape:
                    raise ValueError(f"{name} has another shape")

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"parameter.{name}"])
            step, *moments = (tensors[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS)
            # The fused step reads all three in memory order, so the moments need the parameter's memory format.
            laid_out = [torch.empty_like(parameter).copy_(moment) for moment in moments]
            self.optimizer.state[parameter] = dict(zip(MOMENTS, (step, *laid_out), strict=True))


def _read_tensors(file: safe_open, report: StepCallback) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    names = list(file.keys())
    for name in names:
        tensors[name] = file.get_tensor(name)
        report(len(tensors), len(names))
    return tensors


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all values are finite numbers; waits for the device once."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
