"""Hang detection: a blocked event loop cannot report itself, so a thread watches how often the loop runs a task.

Kafka reassigns the partitions of a hung worker, since its heartbeats come from the same loop. The worker itself must
still exit, so that its supervisor starts a new one.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

EXIT_STALLED = 75  # EX_TEMPFAIL: asks the supervisor for a restart


def _exit_stalled(silence: float) -> None:
    """Print the stack of every thread and end the process: a blocked loop cannot shut down in order."""
    end = f"The worker exits with code {EXIT_STALLED} and leaves unfinished events unacked."
    sys.stderr.write(f"The main loop has not moved for {silence:.0f} s. {end}\n")
    faulthandler.dump_traceback(file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_STALLED)


def exit_within(seconds: float, code: int) -> None:
    """End the process with `code` after `seconds`, even if its shutdown hangs, for example on a stuck child."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


class Watchdog:
    """Watches the event loop that starts it. stall: seconds without a tick before it calls `on_stall(seconds)`."""

    def __init__(self, stall: float, on_stall: Callable[[float], None] = _exit_stalled) -> None:
        self._stall = stall
        self._on_stall = on_stall
        self._interval = min(1.0, stall / 4)
        self._ticked_at = time.monotonic()
        self._stopped = threading.Event()
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start watching. Call it on the loop to watch."""
        self._ticked_at = time.monotonic()
        self._ticking = asyncio.get_running_loop().create_task(self._tick(), name="watchdog-tick")
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._ticking is not None:
            self._ticking.cancel()

    @property
    def silence(self) -> float:
        """Seconds since the loop last moved. Safe to read from any thread."""
        return time.monotonic() - self._ticked_at

    async def _tick(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(self._interval)

    def _watch(self) -> None:
        while not self._stopped.wait(self._interval):
            if self.silence > self._stall:
                self._on_stall(self.silence)
                return
