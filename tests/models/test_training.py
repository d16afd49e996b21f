"""The training loop: killed at any moment, it ends with the bytes of an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.errors import Cancelled
from models.training import CHECKPOINTS, Schedule, generator_for, train, write_tensors


class Regression:
    """A small convolution that learns to blur, in the memory format that networks have on the device."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.network.to(memory_format=torch.channels_last)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def loss(self, generator: torch.Generator) -> Tensor:
        pixels = torch.randn(4, 3, 8, 8, generator=generator)
        return (self.network(pixels) - nn.functional.avg_pool2d(pixels, 3, 1, 1)).square().mean()


class Silent:
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def checkpointed(self, step: int, path: str) -> None: ...


class GiveUpAt(Silent):
    def __init__(self, step: int) -> None:
        self._step = step

    def progress(self, stage: str, done: int, total: int) -> None:
        if done == self._step:
            raise Cancelled


def schedule(**changes: object) -> Schedule:
    return Schedule(
        **{"steps": 60, "learning_rate": 1e-2, "seed": 3, "identity": "test", "checkpoint_every": 7} | changes
    )


def trained(folder: Path, plan: Schedule) -> dict[str, Tensor]:
    learner = Regression()
    train(learner, plan, folder, Silent())
    return {name: value.detach().clone() for name, value in learner.parameters.items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns(tmp_path):
    course = train(Regression(), schedule(), tmp_path, Silent())
    assert course.steps == 60
    assert course.losses[-1] < 0.7 * course.losses[0]


def test_steps_equal_plain_adamw(tmp_path):
    ours = trained(tmp_path, schedule(steps=5))
    plain = Regression()
    optimizer = torch.optim.AdamW(plain.network.parameters(), lr=1e-2, weight_decay=1e-2, foreach=False, fused=False)
    for step in range(5):
        optimizer.zero_grad()
        plain.loss(generator_for(3, step)).backward()
        optimizer.step()
    for name, value in plain.parameters.items():
        assert torch.allclose(ours[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("step", [0, 1, 6, 7, 8, 30, 59, 60])
def test_given_up_and_continued_it_ends_the_same(tmp_path, step):
    whole = trained(tmp_path / "whole", schedule())
    with pytest.raises(Cancelled):
        train(Regression(), schedule(), tmp_path / "parts", GiveUpAt(step))
    assert same(trained(tmp_path / "parts", schedule()), whole)


def killed_run(folder: Path, plan: Schedule, seconds: float) -> bool:
    """Train in a forked process that a timer kills; True if it was killed before its end."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        train(Regression(), plan, folder, Silent())
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_random_moments_it_ends_the_same(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plan = schedule(checkpoint_every=1, steps=120)
        whole = trained(tmp_path / "whole", plan)
        start = time.perf_counter()
        trained(tmp_path / "timed", plan)
        usual = time.perf_counter() - start
        chance, kills, finished = random.Random(5), 0, 0
        while kills < 12:  # a run that was done before its timer makes room for the next one
            folder = tmp_path / f"run-{finished}"
            killed = killed_run(folder, plan, chance.uniform(0.05, 0.3) * usual)
            kills, finished = kills + killed, finished + (not killed)
            assert finished < 20, f"only {kills} of the runs were killed before their end"
        for number in range(finished + 1):
            assert same(trained(tmp_path / f"run-{number}", plan), whole)
    finally:
        torch.set_num_threads(threads)


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    trained(tmp_path, schedule())
    assert [path.name for path in tmp_path.glob(CHECKPOINTS)] == ["checkpoint-000060.safetensors"]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    whole = trained(tmp_path / "whole", schedule())
    with pytest.raises(Cancelled):
        train(Regression(), schedule(), tmp_path / "parts", GiveUpAt(20))
    (tmp_path / "parts" / "checkpoint-000021.safetensors").write_bytes(b"\xff" * 40)
    assert same(trained(tmp_path / "parts", schedule()), whole)


def test_another_schedules_checkpoint_is_passed_over_but_its_pace_may_differ(tmp_path):
    with pytest.raises(Cancelled):
        train(Regression(), schedule(), tmp_path, GiveUpAt(20))
    other = schedule(seed=4)
    assert same(trained(tmp_path, other), trained(tmp_path / "alone", other))
    assert schedule(checkpoint_every=5).fingerprint() == schedule().fingerprint()


def test_equal_tensors_make_equal_files(tmp_path):
    meta = {"format": "pt", "class_noun": "słoik dżemu", "zeta": "1", "alpha": "2"}
    contents = set()
    for number in range(4):
        path = tmp_path / f"{number}.safetensors"
        write_tensors({"b": torch.ones(2), "a": torch.zeros(3)}, path, meta)
        contents.add(path.read_bytes())
        assert torch.equal(load_file(path)["b"], torch.ones(2))
    assert len(contents) == 1
    assert not list(tmp_path.glob("*.part"))


def test_generators_depend_on_their_place_alone():
    first = torch.randn(3, generator=generator_for(1, 2))
    assert torch.equal(first, torch.randn(3, generator=generator_for(1, 2)))
    assert not torch.equal(first, torch.randn(3, generator=generator_for(2, 1)))
