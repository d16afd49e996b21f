"""The first code that runs in the device process; it imports the entry module, and with it torch."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from importlib import import_module
from multiprocessing.connection import Connection

from models.briefs import StudioPlan
from models.errors import StageFailed

_PR_SET_PDEATHSIG = 1


def run_entry(entry: str, connection: Connection, plan: StudioPlan) -> None:
    """Call `entry` (`module:function`) with the connection and the plan.

    Sends StageFailed if the module cannot be imported. The child ignores SIGINT, because Ctrl-C reaches the whole
    process group and the parent shuts the child down in order. The child never outlives its parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # the kernel kills the child even while C code holds the interpreter
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_with_parent, name="exit-with-parent", daemon=True).start()
    module, _, function = entry.partition(":")
    try:
        serve = getattr(import_module(module), function)
    except ImportError as error:
        connection.send(StageFailed(stage="load", kind=type(error).__name__, detail=str(error)))
        return
    serve(connection, plan)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
