"""One progress bar per stage of the studio, fed from anything that says stage, done and total."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

WORDS = {
    "load": "loading the models",
    "generate": "generating candidates",
    "rerank": "reranking with CLIP",
    "upscale": "enlarging with SwinIR",
    "encode": "encoding",
    "prior": "making class images",
    "learn": "learning the product",
    "evaluate": "evaluating",
}


class StageBars:
    """Bars that appear as stages begin and fill as they go on; a context manager.

    On a terminal they move; elsewhere (a log, CI) a line is written as each stage begins.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._console = console
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._stages: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def count(self, name: str, done: int, total: int) -> None:
        """Show a bar that is no stage of the studio, such as finished segments."""
        self._progress.update(self._bar(name, total), completed=done, total=total)

    def show(self, stage: str | None, done: int, total: int, lane: str = "") -> None:
        """Show where a lane's running job is. A stage that is left has been finished; None: nothing runs.

        lane: words before the stage's, for a second device process; its stages have bars of their own.
        """
        name = None if stage is None else f"{lane}{WORDS.get(stage, stage)}"
        before = self._stages.get(lane)
        if name != before:
            self._fill(before)
            self._stages[lane] = name
            if name is not None and not self._console.is_terminal and name not in self._tasks:
                self._console.print(name)
        if name is None:
            return
        bar = self._bar(name, total)
        self._progress.start_task(bar)
        self._progress.update(bar, completed=done, total=total or None)

    def _bar(self, name: str, total: int) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total or None)
        return self._tasks[name]

    def _fill(self, name: str | None) -> None:
        """A stage may end between two looks; its bar must not stay at nine tenths, nor its clock run on."""
        if name is None:
            return
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[name])]
        total = task.total or 1
        self._progress.update(task.id, completed=total, total=total)
        self._progress.stop_task(task.id)
