"""The training jobs of benchmarks/product_training.py: several processes run them, and results stay on disk.

Each process has one thread, so its figures do not depend on the number of processes. Jobs share only class images,
which the first job of a class noun generates. Products alternate, so that two processes do not generate the same ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from models.briefs import StudioPlan, TrainingJob
from models.learning.training_job import run_training_job
from models.opening import open_studio
from models.photo_files import PhotoFile
from models.studio import Studio
from models.subjects import placeholder

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "products"
PRODUCTS = {"milk": "carton of milk", "jam": "jar of jam"}
POLL_SECONDS = 1.0  # between two polls of the processes, and between two reports of one process
LOG_SECONDS = 60.0  # between two lines of progress if stderr is not a terminal
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A training method with changes to its default options."""

    name: str
    method: Any
    changes: tuple[tuple[str, float], ...] = ()


VARIANTS = (
    Variant("Textual Inversion", "textual_inversion"),
    Variant("DreamBooth", "dreambooth"),
    Variant("DreamBooth, no prior", "dreambooth", (("prior_loss_weight", 0.0),)),
    Variant("DreamBooth, LoRA", "dreambooth_lora"),
)


@dataclass(frozen=True)
class Task:
    """One training job of the benchmark. steps: None takes the family's default."""

    product: str
    variant: Variant
    seed: int
    steps: int | None = None

    def __str__(self) -> str:
        return f"{self.product}, {self.variant.name}, seed {self.seed}"


def make_tasks(products: Sequence[str], variants: Sequence[Variant], seeds: int, steps: int | None) -> list[Task]:
    """Return every task, in the order in which the tasks run."""
    return [
        Task(product, variant, seed, steps) for seed in range(seeds) for variant in variants for product in products
    ]


def photo_files(product: str) -> list[Path]:
    """Return the paths of the product's photos."""
    return sorted((ROOT / "docs" / "examples" / "products" / product).glob("*.png"))


def make_training_job(studio: Studio, task: Task, cache: Path = CACHE) -> TrainingJob:
    """Return the training job of a task. A digest of everything that decides the result names its folder."""
    identity = [studio.recipe.fingerprint, task.product, task.variant.name, task.seed, task.steps, studio.training]
    folder = cache / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    job = TrainingJob(
        request_id=folder.name,
        product_id=task.product,
        class_noun=PRODUCTS[task.product],
        placeholder_token=placeholder(task.product, task.variant.method),
        method=task.variant.method,
        photos=tuple(PhotoFile.at(path) for path in photo_files(task.product)),
        seed=task.seed,
        workdir=str(folder),
        class_cache=str(cache / "class-images"),
        steps=task.steps,
    )
    return replace(job, **dict(task.variant.changes))


def saved_row(job: TrainingJob) -> Row | None:
    """Return the row that an earlier run saved for this job, or None."""
    path = Path(job.workdir) / "row.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None


def train_and_save(studio: Studio, job: TrainingJob, reporter: Any) -> Row:
    """Run the job, resuming from its checkpoint; save and return its row."""
    folder = Path(job.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    result = run_training_job(studio, job, reporter)
    studio.shelf.forget(job.product_id)
    row = {
        "scores": result.scores,
        "steps": result.steps,
        "seconds": result.device_seconds,
        "path": result.path,
        "sha256": result.sha256,
    }
    (folder / "row.part").write_text(json.dumps(row))
    (folder / "row.part").replace(folder / "row.json")
    for checkpoint in folder.glob("checkpoint-*"):
        checkpoint.unlink()
    return row


def run_tasks(
    plan: StudioPlan, studio: Studio, tasks: Sequence[Task], workers: int, cache: Path = CACHE
) -> dict[Task, Row]:
    """Return the row of every task: saved rows, then those of `workers` processes, with progress on stderr."""
    rows = {task: row for task in tasks if (row := saved_row(make_training_job(studio, task, cache))) is not None}
    progress = RunProgress(len(tasks), workers)
    for task, row in rows.items():
        progress.finish(task, row)
    missing = [task for task in tasks if task not in rows]
    if not missing:
        return rows
    with _pool(plan, workers, cache) as (pool, reports):
        running: dict[Future[Row], Task] = {pool.submit(_run_task, task): task for task in missing}
        while running:
            done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            while not reports.empty():
                progress.update(*reports.get())
            for future in done:
                task = running.pop(future)
                rows[task] = future.result()
                progress.finish(task, rows[task])
                progress.print_line(f"{task}: {format_row(rows[task])}")
            progress.print_status(list(running.values()))
    return rows


def format_row(row: Row) -> str:
    """Return the scores in one line."""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in row["scores"].items() if not name.endswith("_before"))
    return f"{scores} ({row['steps']} steps, {row['seconds']:.0f} s)"


@dataclass
class RunProgress:
    """The progress of all jobs, and an estimate of the time left.

    A job takes as long as finished jobs of its variant, else as running ones will take, else as the mean of all.
    """

    jobs: int
    workers: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    done: int = 0
    _running: dict[Task, tuple[float, str, float]] = field(default_factory=dict)
    _logged_at: float = field(default_factory=time.monotonic)

    def update(self, task: Task, stage: str, done: int, total: int) -> None:
        """Record the progress of a running job."""
        start = self._running[task][0] if task in self._running else time.monotonic()
        share = {"train": 0.9 * done / max(total, 1), "evaluate": 0.9}.get(stage, 0.0)
        self._running[task] = (start, f"{stage} {done}/{total}", share)

    def finish(self, task: Task, row: Row) -> None:
        """Record a finished job."""
        self._running.pop(task, None)
        self.seconds.setdefault(task.variant.name, []).append(float(row["seconds"]))
        self.done += 1

    def seconds_left(self, unfinished: Sequence[Task]) -> float | None:
        """Return the estimated seconds left, or None if no job has got far enough for an estimate."""
        now = time.monotonic()
        estimates = {variant: mean(seconds) for variant, seconds in self.seconds.items()}
        for task, (start, _, share) in self._running.items():
            if share > 0.05:
                estimates.setdefault(task.variant.name, (now - start) / share)
        if not estimates:
            return None
        usual = mean(estimates.values())
        spent = sum(now - start for task, (start, _, _) in self._running.items() if task in unfinished)
        return max(0.0, sum(estimates.get(task.variant.name, usual) for task in unfinished) - spent) / self.workers

    def print_status(self, unfinished: Sequence[Task]) -> None:
        """Print the status: a terminal's last line is overwritten, other outputs get a line every LOG_SECONDS."""
        remaining = self.seconds_left(unfinished)
        eta = "" if remaining is None else f"; about {remaining / 60:.0f} min left"
        states = "".join(f"; {task}: {state}" for task, (_, state, _) in self._running.items())
        line = f"{self.done} of {self.jobs} training jobs{eta}{states}"
        if sys.stderr.isatty():
            print(f"\r{line[:160]:<160}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._logged_at > LOG_SECONDS:
            self._logged_at = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def print_line(self, line: str) -> None:
        """Print a permanent line."""
        print(f"{chr(13) if sys.stderr.isatty() else ''}[{self.done}/{self.jobs}] {line}", flush=True)


@dataclass
class QueueReporter:
    """A JobReporter that sends progress to the parent process, at most once per POLL_SECONDS."""

    task: Task
    sent_at: float = 0.0

    def progress(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self.sent_at > POLL_SECONDS:
            self.sent_at = time.monotonic()
            _PROCESS["reports"].put((self.task, stage, done, total))

    def report_checkpoint(self, step: int, path: str) -> None: ...


_PROCESS: dict[str, Any] = {}  # a training process keeps its studio, cache folder and report queue here


@contextlib.contextmanager
def _pool(plan: StudioPlan, workers: int, cache: Path) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(workers, context, _open, (plan, cache, reports))
    try:
        yield pool, reports
    finally:
        pool.shutdown(cancel_futures=True)


def _open(plan: StudioPlan, cache: Path, reports: Any) -> None:
    _PROCESS.update(studio=open_studio(plan), cache=cache, reports=reports)


def _run_task(task: Task) -> Row:
    studio = _PROCESS["studio"]
    return train_and_save(studio, make_training_job(studio, task, _PROCESS["cache"]), QueueReporter(task))
