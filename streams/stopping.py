"""Ends a worker on SIGTERM or Ctrl-C, at every moment of its life, with exit code 0.

Until a worker takes events it has nothing to finish, so it exits at once. After that it drains, within a deadline. A
second signal ends it at once. Events that it leaves unacked are delivered again.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_on_signals() -> None:
    """Exit with code 0 on the next stop signal. Call this in the main thread, before slow imports.

    Raising an exception instead would end in whatever the signal interrupts, such as an import that catches it.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: exit_now())


def exit_now() -> NoReturn:
    """Exit with code 0 and without any further step. The device process of a worker dies with it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
