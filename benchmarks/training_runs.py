"""The runs of benchmarks/product_learning.py: several processes train them, and each result is kept on disk.

A process has one thread, so its figures are the same beside any number of others. Lessons are independent of each
other but for the class images, which the first lesson of a noun makes: products alternate, so that two processes do
not make the same ones.
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

from models.briefs import StudioPlan, TrainingJob, placeholder
from models.learning import training_job
from models.opening import open_studio
from models.studio import Studio

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "products"
PRODUCTS = {"milk": "carton of milk", "jam": "jar of jam"}
LOOK = 1.0  # seconds between two looks at the processes
QUIET = 60.0  # seconds between two lines of progress where there is no terminal
Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """One way to learn: a method and what differs from its defaults."""

    name: str
    method: Any
    changes: tuple[tuple[str, float], ...] = ()


WAYS = (
    Way("Textual Inversion", "textual_inversion"),
    Way("DreamBooth", "dreambooth"),
    Way("DreamBooth, no prior", "dreambooth", (("prior_loss_weight", 0.0),)),
    Way("DreamBooth, LoRA", "dreambooth_lora"),
)


@dataclass(frozen=True)
class Task:
    """One lesson. steps: None takes the family's own."""

    product: str
    way: Way
    seed: int
    steps: int | None = None

    def __str__(self) -> str:
        return f"{self.product}, {self.way.name}, seed {self.seed}"


def tasks_of(products: Sequence[str], ways: Sequence[Way], seeds: int, steps: int | None) -> list[Task]:
    """Return every lesson, in the order in which they are taught."""
    return [Task(product, way, seed, steps) for seed in range(seeds) for way in ways for product in products]


def files_of(product: str) -> list[Path]:
    """Return the product's photos."""
    return sorted((ROOT / "docs" / "examples" / "products" / product).glob("*.png"))


def training_job_of(studio: Studio, task: Task, cache: Path = CACHE) -> TrainingJob:
    """Return the lesson of a task; its folder is named by everything that decides the outcome."""
    words = [studio.recipe.fingerprint, task.product, task.way.name, task.seed, task.steps, studio.training]
    folder = cache / hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]
    job = TrainingJob(
        request_id=folder.name,
        product_id=task.product,
        class_noun=PRODUCTS[task.product],
        placeholder_token=placeholder(task.product, task.way.method),
        method=task.way.method,
        photos=tuple(path.read_bytes() for path in files_of(task.product)),
        seed=task.seed,
        workdir=str(folder),
        class_cache=str(cache / "class-images"),
        steps=task.steps,
    )
    return replace(job, **dict(task.way.changes))


def kept(job: TrainingJob) -> Row | None:
    """Return what an earlier run left of this lesson."""
    path = Path(job.workdir) / "row.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None


def taught(studio: Studio, job: TrainingJob, report: Any) -> Row:
    """Teach a lesson, from its checkpoint where it was broken off; keep and return what came of it."""
    folder = Path(job.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    learned = training_job.learn(studio, job, report)
    studio.shelf.forget(job.product_id)
    row = {
        "scores": learned.scores,
        "steps": learned.steps,
        "seconds": learned.device_seconds,
        "path": learned.path,
        "sha256": learned.sha256,
    }
    (folder / "row.part").write_text(json.dumps(row))
    (folder / "row.part").replace(folder / "row.json")
    for checkpoint in folder.glob("checkpoint-*"):
        checkpoint.unlink()
    return row


def teach(
    plan: StudioPlan, studio: Studio, tasks: Sequence[Task], workers: int, cache: Path = CACHE
) -> dict[Task, Row]:
    """Return the row of every task: those that are kept, then those that `workers` processes teach, with progress."""
    found = {task: row for task in tasks if (row := kept(training_job_of(studio, task, cache))) is not None}
    course = Course(len(tasks), workers)
    for task, row in found.items():
        course.ended(task, row)
    missing = [task for task in tasks if task not in found]
    if not missing:
        return found
    with _pool(plan, workers, cache) as (pool, heard):
        running: dict[Future[Row], Task] = {pool.submit(_teach, task): task for task in missing}
        while running:
            done, _ = wait(running, timeout=LOOK, return_when=FIRST_COMPLETED)
            while not heard.empty():
                course.heard(*heard.get())
            for future in done:
                task = running.pop(future)
                found[task] = future.result()
                course.ended(task, found[task])
                course.say(f"{task}: {figures(found[task])}")
            course.tell(list(running.values()))
    return found


def figures(row: Row) -> str:
    """Return the scores in one line."""
    told = ", ".join(f"{name} {value:.3f}" for name, value in row["scores"].items() if not name.endswith("_before"))
    return f"{told} ({row['steps']} steps, {row['seconds']:.0f} s)"


@dataclass
class Course:
    """How far all lessons are, and how long the rest takes: by the seconds of finished ones, else of running ones."""

    jobs: int
    workers: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    done: int = 0
    _running: dict[Task, tuple[float, str, float]] = field(default_factory=dict)
    _told: float = field(default_factory=time.monotonic)

    def heard(self, task: Task, stage: str, done: int, total: int) -> None:
        """Take note of a running lesson."""
        start = self._running[task][0] if task in self._running else time.monotonic()
        share = {"train": 0.9 * done / max(total, 1), "evaluate": 0.9}.get(stage, 0.0)
        self._running[task] = (start, f"{stage} {done}/{total}", share)

    def ended(self, task: Task, row: Row) -> None:
        """Take note of a finished lesson."""
        self._running.pop(task, None)
        self.seconds.setdefault(task.way.name, []).append(float(row["seconds"]))
        self.done += 1

    def left(self, unfinished: Sequence[Task]) -> float | None:
        """Return the seconds that remain; None while nothing is known."""
        now = time.monotonic()
        known = {way: mean(taken) for way, taken in self.seconds.items()}
        for task, (start, _, share) in self._running.items():
            if share > 0.05:
                known.setdefault(task.way.name, (now - start) / share)
        if not known:
            return None
        usual = mean(known.values())
        spent = sum(now - start for task, (start, _, _) in self._running.items() if task in unfinished)
        return max(0.0, sum(known.get(task.way.name, usual) for task in unfinished) - spent) / self.workers

    def tell(self, unfinished: Sequence[Task]) -> None:
        """Write where things stand: over the last line of a terminal, elsewhere a line now and then."""
        remaining = self.left(unfinished)
        eta = "" if remaining is None else f"; about {remaining / 60:.0f} min left"
        topic_states = "".join(f"; {task}: {state}" for task, (_, state, _) in self._running.items())
        line = f"{self.done} of {self.jobs} lessons{eta}{topic_states}"
        if sys.stderr.isatty():
            print(f"\r{line[:160]:<160}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told > QUIET:
            self._told = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Write a line that stays."""
        print(f"{chr(13) if sys.stderr.isatty() else ''}[{self.done}/{self.jobs}] {line}", flush=True)


@dataclass
class Post:
    """A lesson's report, sent to the parent once a second at most."""

    task: Task
    sent: float = 0.0

    def progress(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self.sent > LOOK:
            self.sent = time.monotonic()
            _PROCESS["heard"].put((self.task, stage, done, total))

    def checkpointed(self, step: int, path: str) -> None: ...


_PROCESS: dict[str, Any] = {}  # of a teaching process: its studio, its cache, its line to the parent


@contextlib.contextmanager
def _pool(plan: StudioPlan, workers: int, cache: Path) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    context = multiprocessing.get_context("spawn")
    heard = context.SimpleQueue()
    pool = ProcessPoolExecutor(workers, context, _open, (plan, cache, heard))
    try:
        yield pool, heard
    finally:
        pool.shutdown(cancel_futures=True)


def _open(plan: StudioPlan, cache: Path, heard: Any) -> None:
    _PROCESS.update(studio=open_studio(plan), cache=cache, heard=heard)


def _teach(task: Task) -> Row:
    studio = _PROCESS["studio"]
    return taught(studio, training_job_of(studio, task, _PROCESS["cache"]), Post(task))
