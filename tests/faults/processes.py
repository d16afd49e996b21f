"""Worker processes as an orchestrator sees them."""

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


async def come_true(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.1)


@dataclass
class Worker:
    """A worker process that is started again whenever it ends by itself, as an orchestrator would."""

    name: str
    command: list[str]
    environ: dict[str, str]
    log: Path
    supervised: bool = True
    process: asyncio.subprocess.Process | None = None
    exits: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    _keeper: asyncio.Task[None] | None = None
    _wanted: bool = True

    async def start(self) -> None:
        """Start the process; it may need some seconds to join its group."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, env=self.environ, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self.groups.append(self.process.pid)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            assert self.process
            self.exits.append(await self.process.wait())
            if not (self._wanted and self.supervised):
                return
            await asyncio.sleep(0.2)
            await self.start()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal to the worker process, not to its device process."""
        if self.running:
            assert self.process
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    async def leave(self) -> int:
        """Ask it to end (SIGTERM) and not to be started again; return the exit code."""
        self._wanted = False
        self.signal(signal.SIGTERM)
        assert self._keeper
        await asyncio.wait_for(self._keeper, 60)
        return self.exits[-1]

    async def ended(self, seconds: float = 60) -> int:
        """Wait until an unsupervised worker has ended; return the exit code."""
        assert self._keeper
        await asyncio.wait_for(asyncio.shield(self._keeper), seconds)
        return self.exits[-1]

    async def ready(self, seconds: float = 60) -> None:
        """Wait until the newest process of this worker says that it is ready to take events."""
        await come_true(lambda: self.log.read_bytes().count(b"] ready ") >= len(self.groups), seconds)

    def told(self, words: str) -> list[tuple[float, str]]:
        """Return the log lines that say `words`, of all its processes, each with its time (as time.time() has it)."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if words in line]
        stamped = [(line.split(" ", 1)[0], line) for line in lines if re.match(r"\d{4}-\d\d-\d\dT\S+Z ", line)]
        return [(datetime.fromisoformat(stamp).timestamp(), line) for stamp, line in stamped]

    async def status(self) -> dict[str, Any]:
        """Return what the newest process's /status says."""
        [*_, (_, line)] = self.told("serving health, metrics and gallery")
        address = re.sub(r".*address=(\S+).*", r"\1", line)
        read = lambda: urllib.request.urlopen(f"{address}/status", timeout=5).read()  # noqa: E731
        return dict(json.loads(await asyncio.to_thread(read)))

    def device_processes(self) -> list[int]:
        """Return the ids of the worker's children: the device process, once it is there."""
        if not self.running:
            return []
        assert self.process
        shown = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], check=False, capture_output=True, text=True
        )
        return [int(line.split()[0]) for line in shown.stdout.splitlines() if "spawn_main" in line]

    def memory(self) -> float:
        """Return the worker process's resident memory in MiB."""
        assert self.process
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    async def destroy(self) -> list[int]:
        """End everything at once; return the ids of processes that had outlived their worker."""
        self._wanted = False
        self.kill()
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.process:
            await self.process.wait()
        left = []
        for group in self.groups[:-1]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
                left.append(group)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.killpg(self.groups[-1], signal.SIGKILL)
        return left
