"""Several processes at one stage: each learns by itself, and every few steps they take the mean of their weights.

Local SGD (Stich 2019): on a busy machine, threads that wait for one another at every layer lose most of their time;
processes that meet every few steps do not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

MEET = 10  # steps between meetings


@dataclass(frozen=True)
class Crew:
    """A process's number among `size`; number 0 keeps the checkpoints and the moving average."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def join(rank: int, size: int, meeting_point: Path) -> "Crew":
        """Wait for the others at a file that did not exist before."""
        if size > 1:
            dist.init_process_group("gloo", f"file://{meeting_point.resolve()}", rank=rank, world_size=size)
        return Crew(rank, size)

    def meet(self, parameters: Iterable[Tensor], seconds: float) -> float:
        """Give every member the mean of the weights; returns the mean of `seconds`, the same for all."""
        if self.size == 1:
            return seconds
        weights = list(parameters)
        flat = torch.cat([*(w.detach().reshape(-1) for w in weights), torch.tensor([seconds])])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat[:-1].split([w.numel() for w in weights])
        with torch.no_grad():
            for weight, part in zip(weights, parts, strict=True):
                weight.copy_(part.view(weight.shape))
        return float(flat[-1])


ALONE = Crew()
