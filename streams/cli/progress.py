"""Progress bars for the stages of a device process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_SECONDS = 10.0  # between two lines of a bar in a log
STAGE_LABELS = {
    "load": "loading the models",
    "generate": "generating candidates",
    "rerank": "reranking with CLIP",
    "score": "scoring candidates",
    "upscale": "enlarging with SwinIR",
    "finish": "finishing pictures",
    "encode": "encoding",
    "prior": "making class images",
    "train": "training on the photos",
    "evaluate": "evaluating",
}


class StageBars:
    """A context manager that shows one bar per stage.

    On a terminal the bars move. In a log or in CI each stage prints one line at its beginning, and one every
    `LINE_SECONDS` while it lasts.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._console = console
        self._clock = clock
        self._written: dict[str, tuple[float, float]] = {}  # by bar, without a terminal: times of first and last line
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._shown: dict[str, set[str]] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_count(self, name: str, done: int, total: int) -> None:
        """Show a bar for something other than a stage, such as finished events."""
        self._progress.update(self._bar(name, total), completed=done, total=total)
        self._written.setdefault(name, (self._clock(), self._clock()))  # the first line comes after `LINE_SECONDS`
        self._write(name, done, total)

    def show_process(self, state: str, stages: Mapping[str, Sequence[int]], prefix: str = "") -> None:
        """Show the stages of a device process from its status. A process that loads its models has none yet."""
        if stages:
            self.show_stages(stages, prefix)
        elif state == "loading":
            self.show_stages({"load": (0, 0)}, prefix)

    def show_stages(self, stages: Mapping[str, Sequence[int]], prefix: str = "") -> None:
        """Show (done, total) of each stage; total is 0 if unknown. A stage that is no longer listed is finished.

        prefix: goes before the labels and gives a second device process its own bars.
        """
        named = {f"{prefix}{STAGE_LABELS.get(stage, stage)}": progress for stage, progress in stages.items()}
        for name in self._shown.get(prefix, set()) - set(named):
            self._fill(name)
        self._shown[prefix] = set(named)
        for name, (done, total) in named.items():
            self._progress.update(self._bar(name, total), completed=done, total=total or None)
            self._write(name, done, total)

    def finish(self) -> None:
        """Show every stage as done."""
        for prefix in list(self._shown):
            self.show_stages({}, prefix)

    def _bar(self, name: str, total: int) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total or None)
        return self._tasks[name]

    def _write(self, name: str, done: int, total: int) -> None:
        """Without a terminal, print one line for a bar that is new, or whose last line is `LINE_SECONDS` old."""
        new, now = name not in self._written, self._clock()
        began, last = self._written.get(name, (now, -inf))
        is_over = 0 < total == done and not new
        if self._console.is_terminal or is_over or now - last < LINE_SECONDS:
            return
        self._written[name] = began, now
        reached = f"{done}/{total}" if total else f"{now - began:.0f} s"
        self._console.print(name if new else f"{name}: {reached}", soft_wrap=True)

    def _fill(self, name: str) -> None:
        """Fill the bar and stop its clock: a stage may end between two updates, when the bar stands at nine tenths."""
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[name])]
        total = task.total or 1
        self._progress.update(task.id, completed=total, total=total)
        self._progress.stop_task(task.id)
