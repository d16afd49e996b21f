"""Hang detection of our own: a blocked event loop cannot report itself, so a thread watches its tick.

The group takes the partitions away by itself, heartbeats come from the same loop; but a worker that is blocked for ever
would be one too few until a person sees it. It exits, for its supervisor to start it anew.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

EXIT_STALLED = 75  # EX_TEMPFAIL: start me again


def _exit_stalled(silence: float) -> None:
    """Say where every thread stands, then end the process: nothing of a blocked loop can be shut down in order."""
    sys.stderr.write(f"The main loop has not moved for {silence:.0f} s; exiting with {EXIT_STALLED}, nothing acked.\n")
    faulthandler.dump_traceback(file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_STALLED)


def exit_within(seconds: float, code: int) -> None:
    """End the process with `code` after `seconds`, whatever its shutdown still waits for, such as a stuck child."""
    last_resort = threading.Timer(seconds, os._exit, (code,))
    last_resort.daemon = True
    last_resort.start()


class Watchdog:
    """Watches the event loop it is started on. stall: seconds without a tick before `bite(seconds of silence)`."""

    def __init__(self, stall: float, bite: Callable[[float], None] = _exit_stalled) -> None:
        self._stall = stall
        self._bite = bite
        self._every = min(1.0, stall / 4)
        self._ticked_at = time.monotonic()
        self._stopped = threading.Event()
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; call on the loop to be watched."""
        self._ticked_at = time.monotonic()
        self._ticking = asyncio.get_running_loop().create_task(self._tick(), name="watchdog-tick")
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        if self._ticking is not None:
            self._ticking.cancel()

    @property
    def silence(self) -> float:
        """Return the seconds since the loop last moved. Safe to ask from any thread."""
        return time.monotonic() - self._ticked_at

    async def _tick(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(self._every)

    def _watch(self) -> None:
        while not self._stopped.wait(self._every):
            if self.silence > self._stall:
                self._bite(self.silence)
                return
