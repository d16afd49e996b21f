"""Device processes that look for secrets, and that name files which are not theirs. Entries for DeviceProcess."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from models.briefs import StudioPlan, TrainingResult
from models.connection import Connection
from models.errors import StageFailed
from models.isolation import drop_network
from models.wire import Answer, Checkpointed, Stop, Train
from tests.fakes import ready


def look_around(connection: Connection, _: StudioPlan) -> None:
    """Send what a process with this one's rights can find out, one finding per line."""
    drop_network()
    files = [number for number in range(3, 1000) if _attempt(lambda number=number: os.fstat(number)) == "open"]
    found = [
        f"environment {' '.join(sorted(os.environ))}",
        f"files {len(files)}",
        f"parent {_attempt(lambda: Path(f'/proc/{os.getppid()}/environ').read_bytes())}",
        f"internet {_attempt(lambda: socket.socket(socket.AF_INET))}",
        f"child's internet {_attempt(lambda: subprocess.run(_OPEN_SOCKET, check=True, capture_output=True))}",
    ]
    connection.send(StageFailed(stage="load", kind="found", detail="\n".join(found)))


_OPEN_SOCKET = [sys.executable, "-c", "import socket; socket.socket()"]


def _attempt(action: object) -> str:
    try:
        action()  # type: ignore[operator]
    except (OSError, subprocess.CalledProcessError):
        return "refused"
    return "open"


def name_file(connection: Connection, plan: StudioPlan) -> None:
    """Report `plan.reranking` as the checkpoint or as the concept of a training job; plan.diffusion: which of them."""
    connection.send(ready())
    while not isinstance(job := connection.recv(), Stop):
        assert isinstance(job, Train)
        if plan.diffusion == "checkpoint":
            connection.send(Checkpointed(job.ticket, 1, plan.reranking))
        else:
            result = TrainingResult(job.training_job.request_id, plan.reranking, "0" * 64, 1, {}, (), 0.1)
            connection.send(Answer(job.ticket, job.training_job.request_id, result))
