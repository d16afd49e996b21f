"""One training loop for every stage: a budget, a schedule, EMA, checkpoints and a progress bar."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from . import checkpoints
from .crew import MEET, Crew


@dataclass(frozen=True)
class Budget:
    """When to stop: after `steps`, or after `hours` of training over all its runs, whichever is first."""

    steps: int = 1_000_000
    hours: float = 1.0

    def progress(self, step: int, seconds: float) -> float:
        """The part of the budget that is used, in [0, 1]."""
        return min(1.0, max(step / self.steps, seconds / (3600 * self.hours)))


@dataclass(frozen=True)
class Recipe:
    """How a stage learns: AdamW's peak rate, decay, EMA's memory, warm-up steps and the cool-down's share."""

    rate: float = 1e-3
    decay: float = 0.01
    ema: float = 0.999
    warmup: int = 100
    cooldown: float = 0.3
    save_minutes: float = 2.0
    seed: int = 2026


@dataclass
class Run:
    """A stage's place: its folder, its device, and what it reports while it learns."""

    folder: Path
    device: torch.device
    sheet: Callable[[nn.Module, Path], None] | None = None
    crew: Crew = field(default_factory=Crew)


def train(model: nn.Module, loss: Callable[[int], Tensor], run: Run, budget: Budget, recipe: Recipe) -> nn.Module:
    """Minimise `loss(step)` over `model`'s parameters and return the model's moving average.

    A step's randomness comes from `torch.manual_seed(seed + step)` alone, so that a killed and resumed
    run follows the same trajectory. The rate cools down linearly over the last part of the budget
    (Hägele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations").
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay, betas=(0.9, 0.99), fused=True)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    path = run.folder / "checkpoint.pt"
    step, seconds = _resume(path, model, optimizer, average, run.device)
    bar = _bar(run, budget, step, seconds)
    spent, began = seconds, time.monotonic()
    saved = began
    while True:
        if step % MEET == 0:
            spent = run.crew.meet(parameters, seconds + time.monotonic() - began)
            if budget.progress(step, spent) >= 1:
                break
        progress = min(0.9999, budget.progress(step, spent))
        torch.manual_seed(recipe.seed + step * run.crew.size + run.crew.rank)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _schedule(step, progress, recipe)
        value = loss(step * run.crew.size + run.crew.rank)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        _follow(average, model, min(recipe.ema, (1 + step) / (10 + step)))
        if run.crew.rank == 0:
            _report(bar, run, step, value, progress)
            if time.monotonic() - saved > 60 * recipe.save_minutes:
                saved = time.monotonic()
                _save(path, model, optimizer, average, (step, seconds + saved - began))
                _show(run, model, average, step)
    if run.crew.rank == 0:
        _save(path, model, optimizer, average, (step, spent))
    model.load_state_dict(average)
    if run.crew.rank == 0 and run.sheet:
        run.sheet(model, run.folder / "last.png")
    return model.eval()


def averaged(model: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    """The model with the moving average of its last checkpoint, ready to use."""
    state = checkpoints.load(folder / "checkpoint.pt", device)
    if state is None:
        raise FileNotFoundError(folder)
    model.load_state_dict(state["average"])
    return model.to(device).eval()


def _schedule(step: int, progress: float, recipe: Recipe) -> float:
    cooling = min(1.0, (1 - progress) / recipe.cooldown) if recipe.cooldown else 1.0
    return min(1.0, (step + 1) / recipe.warmup) * cooling


def _follow(average: dict[str, Tensor], model: nn.Module, memory: float) -> None:
    state = model.state_dict()
    floats = [name for name, value in state.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floats], [state[n] for n in floats], 1 - memory)
    for name in state.keys() - set(floats):
        average[name].copy_(state[name])


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], device: torch.device
) -> tuple[int, float]:
    state = checkpoints.load(path, device)
    if state is None:
        return 0, 0.0
    model.load_state_dict(state["model"])
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return int(state["step"]), float(state["seconds"])


def _save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], at: tuple[int, float]
) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
    checkpoints.save({**state, "step": at[0], "seconds": at[1]}, path)


def _show(run: Run, model: nn.Module, average: dict[str, Tensor], step: int) -> None:
    """Write a sample sheet from the moving average, then put the learning weights back."""
    if run.sheet is None:
        return
    learning = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average)
    model.eval()
    run.sheet(model, run.folder / f"{step:07d}.png")
    model.load_state_dict(learning)
    model.train()


def _bar(run: Run, budget: Budget, step: int, seconds: float) -> Iterable[object]:
    percent = int(100 * budget.progress(step, seconds))
    layout = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {postfix}"
    bar: Iterable[object] = tqdm(total=100, initial=percent, desc=run.folder.name, bar_format=layout, mininterval=5)
    return bar


def _report(bar: Iterable[object], run: Run, step: int, value: Tensor, progress: float) -> None:
    assert isinstance(bar, tqdm)
    bar.update(int(100 * progress) - bar.n)
    if step % 20 == 0 or step <= 5:
        number = value.item()
        if not math.isfinite(number):
            raise FloatingPointError(f"{run.folder.name}: the loss is {number} at step {step}")
        bar.set_postfix_str(f"step {step} loss {number:.4f}")
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / "loss.tsv").open("a") as file:
            file.write(f"{step}\t{number:.6f}\n")
