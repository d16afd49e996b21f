"""The training loop: a run that is killed and resumed ends with the weights of an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.errors import Cancelled, ScratchDiskUnusable, TrainingDiverged
from models.learning import training
from models.learning.training import Schedule, generator_for, train
from models.learning.training_checkpoints import CHECKPOINTS
from models.weights.tensor_file import _DTYPES, write_tensors
from tests.fakes import small_disk


class Regression:
    """A small convolution that learns to blur, in the memory format of networks on the device."""

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


class SilentReporter:
    def progress(self, stage: str, done: int, total: int) -> None: ...
    def report_checkpoint(self, step: int, path: str) -> None: ...


class CancelAt(SilentReporter):
    def __init__(self, step: int) -> None:
        self._step = step

    def progress(self, stage: str, done: int, total: int) -> None:
        if done == self._step:
            raise Cancelled


def schedule(**changes: object) -> Schedule:
    return Schedule(
        **{
            "steps": 60,
            "learning_rate": 1e-2,
            "seed": 3,
            "identity": "test",
            "checkpoint_every": 7,
            "checkpoint_seconds": 0.0,
        }
        | changes
    )


def trained_parameters(folder: Path, plan: Schedule) -> dict[str, Tensor]:
    learner = Regression()
    train(learner, plan, folder, SilentReporter())
    return {name: value.detach().clone() for name, value in learner.parameters.items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss(tmp_path):
    history = train(Regression(), schedule(), tmp_path, SilentReporter())
    assert history.steps == 60
    assert history.losses[-1] < 0.7 * history.losses[0]


def test_steps_equal_plain_adamw(tmp_path):
    ours = trained_parameters(tmp_path, schedule(steps=5))
    plain = Regression()
    optimizer = torch.optim.AdamW(plain.network.parameters(), lr=1e-2, weight_decay=1e-2, foreach=False, fused=False)
    for step in range(5):
        optimizer.zero_grad()
        plain.loss(generator_for(3, step)).backward()
        optimizer.step()
    for name, value in plain.parameters.items():
        assert torch.allclose(ours[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("step", [0, 1, 6, 7, 8, 30, 59, 60])
def test_a_cancelled_run_resumes_to_the_same_weights(tmp_path, step):
    whole = trained_parameters(tmp_path / "whole", schedule())
    with pytest.raises(Cancelled):
        train(Regression(), schedule(), tmp_path / "parts", CancelAt(step))
    assert equal(trained_parameters(tmp_path / "parts", schedule()), whole)


def train_until_killed(folder: Path, plan: Schedule, seconds: float) -> bool:
    """Train in a forked process that a timer kills; return whether it was killed before it finished."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        train(Regression(), plan, folder, SilentReporter())
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_run_killed_at_random_moments_resumes_to_the_same_weights(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plan = schedule(checkpoint_every=1, steps=120)
        whole = trained_parameters(tmp_path / "whole", plan)
        start = time.perf_counter()
        trained_parameters(tmp_path / "timed", plan)
        usual = time.perf_counter() - start
        chance, kills, finished = random.Random(5), 0, 0
        while kills < 12:  # a run that finished before its timer gives way to a new one
            folder = tmp_path / f"run-{finished}"
            killed = train_until_killed(folder, plan, chance.uniform(0.05, 0.3) * usual)
            kills, finished = kills + killed, finished + (not killed)
            assert finished < 20, f"only {kills} runs were killed before they finished"
        for number in range(finished + 1):
            assert equal(trained_parameters(tmp_path / f"run-{number}", plan), whole)
    finally:
        torch.set_num_threads(threads)


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    trained_parameters(tmp_path, schedule())
    assert [path.name for path in tmp_path.glob(CHECKPOINTS)] == ["checkpoint-000060.safetensors"]


def test_a_damaged_checkpoint_is_skipped(tmp_path):
    whole = trained_parameters(tmp_path / "whole", schedule())
    with pytest.raises(Cancelled):
        train(Regression(), schedule(), tmp_path / "parts", CancelAt(20))
    (tmp_path / "parts" / "checkpoint-000021.safetensors").write_bytes(b"\xff" * 40)
    assert equal(trained_parameters(tmp_path / "parts", schedule()), whole)


def test_a_checkpoint_of_another_schedule_is_skipped_unless_only_its_intervals_differ(tmp_path):
    with pytest.raises(Cancelled):
        train(Regression(), schedule(), tmp_path, CancelAt(20))
    other = schedule(seed=4)
    assert equal(trained_parameters(tmp_path, other), trained_parameters(tmp_path / "alone", other))
    assert schedule(checkpoint_every=5, checkpoint_seconds=9.0).fingerprint() == schedule().fingerprint()


class CheckpointReporter(SilentReporter):
    """Records the steps of checkpoints, whose files must be complete."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def report_checkpoint(self, step: int, path: str) -> None:
        assert Path(path).name == f"checkpoint-{step:06d}.safetensors"
        load_file(path)
        self.steps.append(step)


class Clock:
    """A clock that each training step advances by half a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(training.time, "monotonic", lambda: self.now)
        step = training._step

        def timed(*arguments: object) -> Tensor:
            self.now += 0.5
            return step(*arguments)

        monkeypatch.setattr(training, "_step", timed)


def test_a_checkpoint_needs_its_step_and_its_seconds_and_the_end_writes_one(tmp_path, monkeypatch):
    Clock(monkeypatch)
    reporter = CheckpointReporter()
    train(Regression(), schedule(checkpoint_seconds=5.0, steps=50), tmp_path, reporter)
    assert reporter.steps == [14, 28, 42, 50]  # 7 steps take 3.5 s, so every second multiple is due
    rare = CheckpointReporter()
    train(Regression(), schedule(checkpoint_seconds=60.0, steps=50), tmp_path / "rare", rare)
    assert rare.steps == [50]


def test_a_run_that_stopped_early_resumes_as_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "MEASURE_EVERY", 1)
    monkeypatch.setattr(training, "has_converged", lambda losses: losses.numel() >= 10)
    plan, reporter = schedule(early_stopping=True), CheckpointReporter()
    first, learner = train(Regression(), plan, tmp_path, reporter), Regression()
    assert reporter.steps == [7, 10]
    monkeypatch.setattr(training, "_step", lambda *_: pytest.fail("the run had finished"))
    resumed = train(learner, plan, tmp_path, SilentReporter())
    assert resumed == first
    assert resumed.steps == 10


def test_losses_are_complete_after_interruptions(tmp_path):
    whole = train(Regression(), schedule(), tmp_path / "whole", SilentReporter())
    for step in (20, 45):
        with pytest.raises(Cancelled):
            train(Regression(), schedule(), tmp_path / "parts", CancelAt(step))
    assert train(Regression(), schedule(), tmp_path / "parts", SilentReporter()) == whole
    assert len(whole.losses) == 60
    assert train(Regression(), schedule(), tmp_path / "parts", SilentReporter()).losses == whole.losses


class Diverging(Regression):
    """A regression whose eleventh loss is multiplied by `value`."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value, self._steps = value, 0

    def loss(self, generator: torch.Generator) -> Tensor:
        self._steps += 1
        return super().loss(generator) * (self._value if self._steps == 11 else 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_a_diverging_run_fails_at_the_next_checkpoint_and_keeps_the_last_finite_one(tmp_path, value):
    reporter = CheckpointReporter()
    with pytest.raises(TrainingDiverged, match="within 14 steps: a weight is not a finite number") as caught:
        train(Diverging(value), schedule(), tmp_path, reporter)
    assert caught.value.code == "training_diverged"
    assert reporter.steps == [7]
    assert all(value.isfinite().all() for value in load_file(tmp_path / "checkpoint-000007.safetensors").values())


def test_a_diverged_run_diverges_again(tmp_path):
    plan = schedule(steps=60, checkpoint_every=60, learning_rate=1e30)
    for _ in range(2):
        with pytest.raises(TrainingDiverged):
            train(Regression(), plan, tmp_path, SilentReporter())
    assert not list(tmp_path.glob(CHECKPOINTS))


def test_equal_tensors_give_equal_files(tmp_path):
    meta = {"format": "pt", "class_noun": "słoik dżemu", "zeta": "1", "alpha": "2"}
    contents = set()
    for number in range(4):
        path = tmp_path / f"{number}.safetensors"
        write_tensors({"b": torch.ones(2), "a": torch.zeros(3)}, path, meta)
        contents.add(path.read_bytes())
        assert torch.equal(load_file(path)["b"], torch.ones(2))
    assert len(contents) == 1
    assert not list(tmp_path.glob("*.part"))


def test_the_file_is_that_of_the_safetensors_library(tmp_path):
    numbers = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 100
    tensors = {f"ż.{position}": numbers.to(dtype) for position, dtype in enumerate(reversed(_DTYPES))}
    tensors |= {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(numbers.clone()),
    }
    tensors["laid out"] = numbers.to(memory_format=torch.channels_last)
    write_tensors(tensors, tmp_path / "ours", {"format": "pt"})
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, tmp_path / "theirs", {"format": "pt"}
    )
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_writing_reports_every_chunk_and_ends_when_the_job_is_cancelled(tmp_path, monkeypatch):
    monkeypatch.setattr("models.weights.tensor_file._CHUNK", 8)
    reports = []
    tensors = {"a": torch.zeros(5), "b": torch.zeros(1)}
    write_tensors(tensors, tmp_path / "a.safetensors", {}, lambda *done: reports.append(done))
    assert reports == [(8, 24), (16, 24), (20, 24), (24, 24)]

    def cancel(_done, _total):
        raise Cancelled

    with pytest.raises(Cancelled):
        write_tensors(tensors, tmp_path / "b.safetensors", {}, cancel)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    small_disk(tmp_path, 100, monkeypatch)
    with pytest.raises(ScratchDiskUnusable, match="No space left on device"):
        write_tensors({"a": torch.zeros(100)}, tmp_path / "a.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_saving_and_restoring_a_checkpoint_report_progress(tmp_path):
    reports = []

    class Recorder(SilentReporter):
        def progress(self, stage, done, total):
            reports.append((stage, done, total))

    train(Regression(), schedule(steps=2, checkpoint_every=2), tmp_path, Recorder())
    assert reports.count(("train", 2, 2)) > 1  # while the file is written, and at the end
    reports.clear()
    train(Regression(), schedule(steps=2, checkpoint_every=2), tmp_path, Recorder())
    loads = [report for report in reports if report[0] == "load"]
    assert loads
    assert loads[-1][1] == loads[-1][2]


def test_generators_depend_on_seed_and_place_alone():
    first = torch.randn(3, generator=generator_for(1, 2))
    assert torch.equal(first, torch.randn(3, generator=generator_for(1, 2)))
    assert not torch.equal(first, torch.randn(3, generator=generator_for(2, 1)))
