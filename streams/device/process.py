"""One life of the device process: a spawned child, its pipe, and its end.

The child alone imports what its entry names (torch and all). It dies with us, whatever we die of.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection

import structlog

from models.briefs import StudioPlan, StudioReady
from models.errors import CreativesError, DeviceUnavailable, StageFailed
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Stop, Train
from streams.failures import DeviceStuck

_PR_SET_PDEATHSIG = 1
_REAP_SECONDS = 5.0
_END_SECONDS = 30.0  # after SIGKILL; a child that is longer there waits in the kernel, for a driver or a disk

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Gone:
    """The last message of every child: how it ended, such as `was killed by SIGSEGV`."""

    how: str


Outgoing = Render | Train | Cancel | Stop
Incoming = StudioReady | Progress | Checkpointed | Answer | CreativesError | Gone


class _Frames(asyncio.Protocol):
    """Our end of the child's pipe, on the event loop: a thread to wake for each message is felt in every event.

    The child's end is a `multiprocessing.connection.Connection`, and this its format: each message after its length,
    four bytes, big-endian; from 2 GiB on -1 and eight bytes.
    """

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self.closed = asyncio.Event()
        self._received = received
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def send(self, content: bytes) -> None:
        """Send one message; to whom is gone, nothing."""
        if self._transport is not None and not self._transport.is_closing():
            size = len(content)
            length = struct.pack("!i", size) if size < 2**31 else struct.pack("!iQ", -1, size)
            self._transport.write(length + content)

    def close(self) -> None:
        """Read no more, not even what has come already."""
        self._buffer.clear()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand over every message that is whole."""
        self._buffer += data
        while (content := self._whole()) is not None:
            self._received(content)

    def connection_lost(self, _: Exception | None) -> None:
        """See asyncio. Half a message is none."""
        self._transport = None
        self.closed.set()

    def _whole(self) -> bytes | None:
        start, size = 4, int.from_bytes(self._buffer[:4], "big", signed=True)
        if size < 0:
            start, size = 12, int.from_bytes(self._buffer[4:12], "big")
        if len(self._buffer) < start + size:
            return None
        content = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return content


class DeviceProcess:
    """A running child. entry: `module:function`, called in the child as `function(connection, plan)`.

    on_gone: called once the child is gone, after `gone` is set.
    on_message: called with each message as it comes, before it waits in `messages`.
    Neither a large lesson nor a stuck child blocks the event loop: what the child does not read waits in our memory,
    and a thread waits for its death.
    Raises DeviceUnavailable where the machine has no memory, process, thread or descriptor left.
    """

    def __init__(
        self,
        entry: str,
        plan: StudioPlan,
        on_gone: Callable[[], object] = lambda: None,
        on_message: Callable[[Incoming], object] = lambda _: None,
    ) -> None:
        self.messages: asyncio.Queue[Incoming] = asyncio.Queue()
        self.gone = asyncio.Event()
        self._on_gone = on_gone
        self._on_message = on_message
        self._verdict: str | None = None
        self._loop = asyncio.get_running_loop()
        self._frames = _Frames(self._received)
        self._reaped = asyncio.Event()
        try:
            self._start(entry, plan)
        except (OSError, RuntimeError) as error:  # RuntimeError: `can't start new thread`
            detail = f"its process cannot be started ({error})."
            raise DeviceUnavailable(device=plan.device, detail=detail) from error
        self.pid: int | None = self._process.pid
        self._life = asyncio.create_task(self._lived(), name="device")

    def _start(self, entry: str, plan: StudioPlan) -> None:
        """Start child and reaper, or neither."""
        self._socket, socket_there = socket.socketpair()
        theirs = Connection(socket_there.detach())
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_run_entry, args=(entry, theirs, plan), name="device", daemon=True)
        try:
            self._process.start()
            threading.Thread(target=self._reap, name="device-reap", daemon=True).start()
        except (OSError, RuntimeError):
            self._socket.close()
            if self._process.pid is not None:
                self._process.kill()
            raise
        finally:
            theirs.close()

    def send(self, message: Outgoing) -> None:
        """Send in the background. A child that is gone says so in `messages`, not here."""
        self._frames.send(pickle.dumps(message))

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

    async def first_message(self, deadline: float, on_progress: Callable[[Progress], None]) -> Incoming:
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

    def _received(self, content: bytes) -> None:
        try:
            message = pickle.loads(content)  # noqa: S301 - from our own child
        except Exception as error:  # noqa: BLE001 - a process boundary: what cannot be unpickled ends this child
            self.kill(f"sent what cannot be read ({type(error).__name__}: {error})")
            self._frames.close()
        else:
            self._on_message(message)
            self.messages.put_nowait(message)

    async def _lived(self) -> None:
        """Receive until the child closes its pipe, see it dead, and say how it ended."""
        await self._loop.create_connection(lambda: self._frames, sock=self._socket)
        await self._frames.closed.wait()
        with suppress(TimeoutError):  # it closed its pipe; give it time to finish dying
            await asyncio.wait_for(self._reaped.wait(), _REAP_SECONDS)
        self._process.kill()
        await self._reaped.wait()
        self.messages.put_nowait(Gone(self._verdict or _how(self._process.exitcode)))
        self.gone.set()
        self._on_gone()

    def _reap(self) -> None:
        """Wait for the child's death, in a thread of its own."""
        self._process.join()
        with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._reaped.set)


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
