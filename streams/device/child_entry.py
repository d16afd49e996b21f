"""The first code that runs in the device process; it imports the entry module, and with it torch."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from importlib import import_module

from models.connection import Connection
from models.errors import StageFailed
from models.isolation import limit_process
from streams.stopping import exit_now

_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def main(entry: str, number: int, parent: int) -> None:
    """Call `entry` (`module:function`) with the connection and the plan, the first message on it.

    number: of the socket's file descriptor. parent: the worker's process id. Sends StageFailed if the module cannot be
    imported. The child ignores SIGINT and SIGTERM, because both may reach the whole process group: the worker decides.
    """
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    limit_process(parent)
    if sys.platform != "linux":
        threading.Thread(target=_exit_with_parent, args=(parent,), name="exit-with-parent", daemon=True).start()
    connection = Connection(socket.socket(fileno=number))
    try:
        plan = connection.recv()
        module, _, function = entry.partition(":")
        serve = getattr(import_module(module), function)
    except EOFError:
        return
    except ImportError as error:
        connection.send(StageFailed(stage="load", kind=type(error).__name__, detail=str(error)))
        return
    serve(connection, plan)
    exit_now()  # the interpreter would spend seconds on freeing what the kernel frees anyway


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
