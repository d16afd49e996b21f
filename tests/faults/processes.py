"""Worker processes, started again as an orchestrator would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.faults.cluster import ROOT


async def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.1)


@dataclass
class WorkerProcess:
    """A worker process and its successors.

    supervised: start another process whenever one exits. exit_codes: of the processes that have ended.
    process_groups: the group id of each process, in the order of their starts.
    """

    name: str
    command: list[str]
    environ: dict[str, str]
    log: Path
    supervised: bool = True
    process: asyncio.subprocess.Process | None = None
    exit_codes: list[int] = field(default_factory=list)
    process_groups: list[int] = field(default_factory=list)
    _supervisor: asyncio.Task[None] | None = None
    _restart: bool = True

    async def start(self) -> None:
        """Start a process. It needs some seconds to join its consumer group."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, env=self.environ, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self.process_groups.append(self.process.pid)
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        while True:
            assert self.process
            self.exit_codes.append(await self.process.wait())
            if not (self._restart and self.supervised):
                return
            await asyncio.sleep(0.2)
            await self.start()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal to the worker process but not to its device process."""
        if self.running:
            assert self.process
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    async def terminate(self) -> int:
        """Send SIGTERM, do not start another process, and return the exit code."""
        self._restart = False
        self.signal(signal.SIGTERM)
        assert self._supervisor
        await asyncio.wait_for(self._supervisor, 60)
        return self.exit_codes[-1]

    async def wait_for_exit(self, seconds: float = 60) -> int:
        """Wait until an unsupervised worker exits; return the exit code."""
        assert self._supervisor
        await asyncio.wait_for(asyncio.shield(self._supervisor), seconds)
        return self.exit_codes[-1]

    async def wait_until_ready(self, seconds: float = 60) -> None:
        """Wait until the newest process logs that it is ready."""
        await wait_until(lambda: self.log.read_bytes().count(b"] ready ") >= len(self.process_groups), seconds)

    def log_lines(self, words: str) -> list[tuple[float, str]]:
        """Return the time (as time.time()) and the text of the log lines of all processes that contain `words`."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if words in line]
        stamped = [(line.split(" ", 1)[0], line) for line in lines if re.match(r"\d{4}-\d\d-\d\dT\S+Z ", line)]
        return [(datetime.fromisoformat(stamp).timestamp(), line) for stamp, line in stamped]

    async def status(self) -> dict[str, Any]:
        """Return the /status of the newest process."""
        [*_, (_, line)] = self.log_lines("serving health, metrics and status")
        address = re.sub(r".*address=(\S+).*", r"\1", line)
        read = lambda: urllib.request.urlopen(f"{address}/status", timeout=5).read()  # noqa: E731
        return dict(json.loads(await asyncio.to_thread(read)))

    def device_processes(self) -> list[int]:
        """Return the ids of the worker's device processes; none before they have started."""
        if not self.running:
            return []
        assert self.process
        shown = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], check=False, capture_output=True, text=True
        )
        return [int(line.split()[0]) for line in shown.stdout.splitlines() if "streams.device.child_entry" in line]

    def memory(self) -> float:
        """Return the worker process's resident memory in MiB."""
        assert self.process
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    async def kill_all(self) -> list[int]:
        """Kill all processes; return the ids of process groups that had outlived their worker."""
        self._restart = False
        self.kill()
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self.process:
            await self.process.wait()
        survivors = []
        for group in self.process_groups[:-1]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
                survivors.append(group)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.killpg(self.process_groups[-1], signal.SIGKILL)
        return survivors
