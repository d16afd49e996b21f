"""A server process of the cluster: starts detached, is found again by its folder, and can be killed or frozen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class ServicesFailed(Exception):
    """The services cannot be started or used. The message advises what to do."""


def free_port() -> int:
    """Return a port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kafka_listens(port: int) -> bool:
    """Return whether something listens on a port: a broker with users answers only those."""
    return _listening(port)


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


def _wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait until the condition holds; return whether it did in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass(frozen=True)
class Node:
    """One server process, which outlives this object. Its folder holds `pid` and `log`.

    answers: returns whether the server on a port serves requests.
    """

    name: str
    folder: Path
    port: int
    argv: tuple[str, ...]
    environ: dict[str, str]
    answers: Callable[[int], bool]

    def start(self) -> None:
        """Start the process, detached, unless it already runs. Raises ServicesFailed."""
        if self.alive():
            return
        if not _wait_until(lambda: not _listening(self.port), 5):
            raise ServicesFailed(f"port {self.port} for {self.name} is taken by another program: choose another port.")
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 1, str(self.folder / "log"), flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        environ = {**os.environ, **self.environ}
        pid = os.posix_spawn(self.argv[0], list(self.argv), environ, file_actions=actions, setsid=True)
        (self.folder / "pid").write_text(str(pid))

    def pid(self) -> int | None:
        """Return the id of the last process, alive or not, or None."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / "pid").read_text())
        return None

    def alive(self) -> bool:
        """Return whether the process runs. Another program with the same id does not count."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        command = ["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)]  # -ww: all arguments, whatever COLUMNS is
        shown = subprocess.run(command, check=False, capture_output=True, text=True)
        return str(self.folder) in shown.stdout and not shown.stdout.startswith("Z")

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        pid = self.pid()
        if pid and self.alive():
            os.kill(pid, number)

    def kill(self) -> None:
        """Kill the process without a shutdown and wait until it is gone."""
        self.signal(signal.SIGKILL)
        _wait_until(lambda: not self.alive(), 10)

    def stop(self) -> None:
        """Terminate the process; kill it after 30 s."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not _wait_until(lambda: not self.alive(), 30):
            self.kill()

    def pause(self) -> None:
        """Freeze the process: its connections stay open and get no answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen process."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout: float = 120) -> None:
        """Wait until the server serves requests. Raises ServicesFailed."""
        deadline = time.monotonic() + timeout
        while not self.answers(self.port):
            if not self.alive():
                raise ServicesFailed(
                    f"{self.name} exited at its start. The last lines of {self.folder / 'log'}:\n{self._log()}"
                )
            if time.monotonic() > deadline:
                raise ServicesFailed(
                    f"{self.name} does not serve requests after {timeout:.0f} s; see {self.folder / 'log'}"
                )
            time.sleep(0.25)

    def _log(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-8:])


def kafka_answers(port: int) -> bool:
    """Return whether the broker finds a group's coordinator; the first call creates `__consumer_offsets`."""
    group = f"probe-{uuid.uuid4()}".encode()
    request = struct.pack(">hhihh", 10, 0, 1, -1, len(group)) + group  # FindCoordinator, version 0, no client id
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as broker:
            broker.settimeout(5)
            broker.sendall(struct.pack(">i", len(request)) + request)
            answer = broker.recv(4096)
    except OSError:
        return False
    return len(answer) >= 10 and struct.unpack(">h", answer[8:10])[0] == 0


def minio_answers(port: int) -> bool:
    """Return whether MinIO reports that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/minio/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
