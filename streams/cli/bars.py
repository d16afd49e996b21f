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
        self._running: set[str] = set()

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

    def show(self, stages: Mapping[str, Sequence[int]]) -> None:
        """Show how far each stage is: done and total, which is 0 where nobody knows. One that is gone is finished."""
        for stage in self._running - set(stages):
            self._fill(stage)
        self._running = set(stages)
        for stage, (done, total) in stages.items():
            if stage not in self._tasks and not self._console.is_terminal:
                self._console.print(WORDS.get(stage, stage))
            self._progress.update(self._bar(stage, total), completed=done, total=total or None)

    def finish(self) -> None:
        """Show every stage as done."""
        self.show({})

    def _bar(self, stage: str, total: int) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(WORDS.get(stage, stage), total=total or None)
        return self._tasks[stage]

    def _fill(self, stage: str) -> None:
        """A stage may end between two looks; its bar must not stay at nine tenths, nor its clock run on."""
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[stage])]
        total = task.total or 1
        self._progress.update(task.id, completed=total, total=total)
        self._progress.stop_task(task.id)
