"""One life of the device process: a spawned child, its pipe, and its end.

The child alone imports what its entry names (torch and all). It dies with us, whatever we die of.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import structlog

from models.briefs import Answer, Cancel, Checkpointed, LearnJob, Progress, RenderJob, Stop, StudioPlan, StudioReady
from models.errors import CreativesError, DeviceUnavailable, StageFailed
from streams.failures import DeviceStuck

_PR_SET_PDEATHSIG = 1
_REAP_SECONDS = 5.0
_END_SECONDS = 30.0  # after SIGKILL; a child that is longer there waits in the kernel, for a driver or a disk

_FITS = 32 * 1024  # bytes; a pipe takes 64 KiB at least before it blocks its writer

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Gone:
    """The last message of every child: how it ended, such as `was killed by SIGSEGV`."""

    how: str


Outgoing = RenderJob | LearnJob | Cancel | Stop
Incoming = StudioReady | Progress | Checkpointed | Answer | CreativesError | Gone


class DeviceProcess:
    """A running child. entry: `module:function`, called in the child as `function(connection, plan)`.

    Two threads of its own carry messages, so neither a large lesson nor a stuck child blocks the event loop.
    Raises DeviceUnavailable where the machine has no memory, process, thread or descriptor left.
    """

    def __init__(self, entry: str, plan: StudioPlan) -> None:
        self.messages: asyncio.Queue[Incoming] = asyncio.Queue()
        self.gone = asyncio.Event()
        self._verdict: str | None = None
        self._loop = asyncio.get_running_loop()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="device-send")
        self._sending: Future[None] | None = None
        try:
            self._start(entry, plan)
        except (OSError, RuntimeError) as error:  # RuntimeError: `can't start new thread`
            detail = f"its process cannot be started ({error})."
            raise DeviceUnavailable(device=plan.device, detail=detail) from error
        self.pid: int | None = self._process.pid

    def _start(self, entry: str, plan: StudioPlan) -> None:
        """Start child and listener, or neither."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_run_entry, args=(entry, theirs, plan), name="device", daemon=True)
        try:
            self._process.start()
            threading.Thread(target=self._listen, name="device-listen", daemon=True).start()
        except (OSError, RuntimeError):
            self._connection.close()
            if self._process.pid is not None:
                self._process.kill()
            raise
        finally:
            theirs.close()

    def send(self, message: Outgoing) -> None:
        """Send in the background. A child that is gone says so in `messages`, not here.

        Briefs go at once where they surely fit into the pipe: the child has nothing else to read, and a thread less
        to wake is felt in every event.
        """
        content = memoryview(ForkingPickler.dumps(message))
        ours = self._sending is None or self._sending.done()
        if ours and isinstance(message, RenderJob) and len(content) <= _FITS:
            self._send(content)
            return
        with suppress(RuntimeError):  # the listener has closed the sender: the child is gone
            self._sending = self._sender.submit(self._send, content)

    def kill(self, verdict: str) -> None:
        """End the child at once; `verdict` is what `Gone` will say of it."""
        self._verdict = verdict
        self._process.kill()

    async def end(self, verdict: str) -> None:
        """Kill the child and wait until it is gone. Raises DeviceStuck where no signal ends it."""
        self.kill(verdict)
        if not await self._gone_within(_END_SECONDS):
            raise DeviceStuck(pid=self.pid or 0, seconds=_END_SECONDS)

    async def stop(self, grace: float) -> None:
        """End the child: ask, then SIGTERM, then SIGKILL, `grace` seconds apart. No zombie is left."""
        self.send(Stop())
        if await self._gone_within(grace):
            return
        self._process.terminate()
        if await self._gone_within(grace):
            return
        try:
            await self.end("was killed")
        except DeviceStuck as stuck:
            log.error("device process left behind", reason=str(stuck))  # noqa: TRY400 - one line

    async def first_word(self, deadline: float, on_progress: Callable[[Progress], None]) -> Incoming:
        """Return the first message that is no progress; Gone where there is none within `deadline` seconds."""
        try:
            async with asyncio.timeout(deadline):
                while isinstance(message := await self.messages.get(), Progress):
                    on_progress(message)
        except TimeoutError:
            return Gone(f"was not ready within {deadline:g} s")
        return message

    async def next_message(self, deadline: float) -> Incoming:
        """Return the next message; a child that stays silent too long is killed, and says so as its last."""
        try:
            async with asyncio.timeout(deadline):
                return await self.messages.get()
        except TimeoutError:
            if self.messages.empty():  # else our own loop was asleep, not the child
                await self.end(f"gave no sign of progress for {deadline:g} s and was killed")
        return await self.messages.get()

    async def _gone_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)
        return self.gone.is_set()

    def _send(self, content: memoryview) -> None:
        with suppress(OSError):  # the pipe's other end is gone; the listener notices too
            self._connection.send_bytes(content)

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            except Exception as error:  # noqa: BLE001 - a process boundary: what cannot be unpickled ends this child
                self.kill(f"sent what cannot be read ({type(error).__name__}: {error})")
                break
            self._deliver(message)
        self._process.join(_REAP_SECONDS)  # it closed its pipe; give it time to finish dying
        self._process.kill()
        self._process.join()
        self._sender.shutdown(wait=False)
        self._deliver(Gone(self._verdict or _how(self._process.exitcode)))
        self._connection.close()

    def _deliver(self, message: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._arrived, message)

    def _arrived(self, message: Incoming) -> None:
        self.messages.put_nowait(message)
        if isinstance(message, Gone):
            self.gone.set()


def _how(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exited with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def _run_entry(entry: str, connection: Connection, plan: StudioPlan) -> None:
    """Run in the child. Ctrl-C reaches the whole group of processes; ours is ended by its parent, in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # the kernel's way works even while C code holds the interpreter
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_die_with_parent, name="die-with-parent", daemon=True).start()
    module, _, function = entry.partition(":")
    try:
        serve = getattr(import_module(module), function)
    except ImportError as error:
        connection.send(StageFailed(stage="load", kind=type(error).__name__, detail=str(error)))
        return
    serve(connection, plan)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
