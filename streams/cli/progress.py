"""One progress bar per stage of the studio, fed from anything that says how far each stage is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

WORDS = {
    "load": "loading the models",
    "generate": "generating candidates",
    "rerank": "reranking with CLIP",
    "score": "scoring candidates",
    "upscale": "enlarging with SwinIR",
    "finish": "finishing pictures",
    "encode": "encoding",
    "prior": "making class images",
    "train": "learning the product",
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
        self._shown: dict[str, set[str]] = {}

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

    def show(self, stages: Mapping[str, Sequence[int]], prefix: str = "") -> None:
        """Show how far each stage is: done and total, which is 0 where nobody knows. One that is gone is finished.

        lane: words before the stages', for a second device process; its stages have bars of their own.
        """
        named = {f"{prefix}{WORDS.get(stage, stage)}": progress for stage, progress in stages.items()}
        for name in self._shown.get(prefix, set()) - set(named):
            self._fill(name)
        self._shown[prefix] = set(named)
        for name, (done, total) in named.items():
            if name not in self._tasks and not self._console.is_terminal:
                self._console.print(name)
            self._progress.update(self._bar(name, total), completed=done, total=total or None)

    def finish(self) -> None:
        """Show every stage as done."""
        for prefix in list(self._shown):
            self.show({}, prefix)

    def _bar(self, name: str, total: int) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total or None)
        return self._tasks[name]

    def _fill(self, name: str) -> None:
        """A stage may end between two looks; its bar must not stay at nine tenths, nor its clock run on."""
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[name])]
        total = task.total or 1
        self._progress.update(task.id, completed=total, total=total)
        self._progress.stop_task(task.id)
