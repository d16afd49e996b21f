"""The demo's worker: a child process that runs `creatives worker`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.cli.demo.errors import DemoFailed
from streams.cli.embedded_services import connection_variables
from streams.printable import printable
from streams.settings import Settings
from streams.web_settings import DEFAULT_GALLERY_PORT, DEFAULT_WEB_PORT

WORKER_COMMAND = (sys.executable, "-m", "streams.cli", "worker")
STOP_SECONDS = 30.0  # between SIGTERM and SIGKILL
LOG_LINES = 15
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class WorkerProcess:
    """A running worker, the addresses of its web pages, and the headers that they require."""

    process: asyncio.subprocess.Process
    url: str
    gallery_url: str
    headers: dict[str, str]

    def exit_error(self) -> DemoFailed:
        """Return the error for a worker that exited although the demo needs it."""
        return DemoFailed(reason=f"The worker exited with code {self.process.returncode}.")


@asynccontextmanager
async def worker_process(settings: Settings, log: Path) -> AsyncIterator[WorkerProcess]:
    """Start a worker that writes its output to `log`, and stop it at the end."""
    port = free_port(DEFAULT_WEB_PORT if settings.web.port is None else settings.web.port)
    gallery = free_port(DEFAULT_GALLERY_PORT if settings.web.gallery_port is None else settings.web.gallery_port)
    variables = connection_variables(settings) | {
        "CREATIVES_WEB__HOST": LOOPBACK,
        "CREATIVES_WEB__PORT": str(port),
        "CREATIVES_WEB__GALLERY_HOST": LOOPBACK,
        "CREATIVES_WEB__GALLERY_PORT": str(gallery),
    }
    if settings.storage.public_base is not None:
        variables["CREATIVES_STORAGE__PUBLIC_BASE"] = settings.storage.public_base
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *WORKER_COMMAND,
            env=os.environ | variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        token = settings.web.token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        yield WorkerProcess(process, f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{gallery}", headers)
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def free_port(preferred: int) -> int:
    """Return `preferred` if it is free on loopback, else any free port. Raises DemoFailed if there is none."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed(reason=f"There is no free port on {LOOPBACK}.")


def last_log_lines(log: Path) -> str:
    """Return the end of the worker's log, without anything that controls a terminal."""
    lines = log.read_text("utf-8", errors="replace").split("\n") if log.exists() else []
    return "\n".join(map(printable, lines[-LOG_LINES:])).strip()
