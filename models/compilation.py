"""Signs of progress while torch.compile compiles: one compilation takes minutes, inside a single step of the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from models.errors import Cancelled

if TYPE_CHECKING:
    from torch._dynamo.callback import CompilationCallbackHandler

_INTERVAL = 5.0
_LONGEST = 1800.0


def report_compilation(report: Callable[[], object]) -> AbstractContextManager[None]:
    """Call `report` every few seconds while torch.compile compiles in the block.

    A thread calls it, between the start and the end that torch announces, and for at most half an hour per compilation:
    one that hangs still ends at the worker's deadline. Nothing is reported while compiled code runs.
    """
    from torch._dynamo.callback import callback_handler  # slow to import, and needed only with torch.compile

    return report_between(callback_handler, report, _INTERVAL, _LONGEST)


@contextmanager
def report_between(
    handler: CompilationCallbackHandler, report: Callable[[], object], interval: float, longest: float
) -> Iterator[None]:
    """Call `report` every `interval` seconds, at most `longest`, between each start and end that the handler runs."""
    ends: list[threading.Event] = []

    def start(_: object) -> None:
        ends.append(threading.Event())
        tick = (report, interval, time.monotonic() + longest, ends[-1])
        threading.Thread(target=_tick, args=tick, name="compilation", daemon=True).start()

    def end(_: object = None) -> None:
        while ends:
            ends.pop().set()

    handler.register_start_callback(start)
    handler.register_end_callback(end)
    try:
        yield
    finally:
        handler.remove_start_callback(start)
        handler.remove_end_callback(end)
        end()


def _tick(report: Callable[[], object], interval: float, deadline: float, ended: threading.Event) -> None:
    while not ended.wait(interval) and time.monotonic() < deadline:
        try:
            report()
        except Cancelled:
            return  # the job itself ends at its next step
