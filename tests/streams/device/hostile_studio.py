"""Device processes that look for secrets, name files that are not theirs, or send what no job awaits.

Each function is an entry for DeviceProcess.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from models.briefs import Picture, Rendering, StudioPlan, TrainingResult
from models.connection import Connection
from models.errors import Cancelled, StageFailed
from models.isolation import drop_network
from models.wire import Answer, Checkpointed, Progress, Render, Stop, Train
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


def send_unasked(connection: Connection, plan: StudioPlan) -> None:
    """Send without a job what `plan.diffusion` names, many times."""
    connection.send(ready())
    time.sleep(0.1)  # the worker is idle now
    picture = Picture(1, "square", 1, 1, 1, "image/png", b"content", {})
    messages = {
        "pictures": Answer(999, "r", Rendering("r", (picture,), (), 0.0)),
        "answers": Answer(0, "r", None, StageFailed(stage="load", kind="x", detail="y")),
        "progress": Progress(0, "train", 1, 1),
        "ready": ready(),
    }
    for _ in range(10_000):
        connection.send(messages[plan.diffusion])


def cancel_all(connection: Connection, _: StudioPlan) -> None:
    """Answer every brief with Cancelled."""
    connection.send(ready())
    while not isinstance(job := connection.recv(), Stop):
        assert isinstance(job, Render)
        for brief in job.briefs:
            connection.send(Answer(job.ticket, brief.request_id, None, Cancelled()))
