"""One device process from start to end: a child and the pipe to it.

Only the child imports the entry module, and with it torch. The child dies with the worker, however the worker dies.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from models.briefs import StudioPlan, StudioReady
from models.errors import CreativesError, DeviceUnavailable, first_line
from models.isolation import refused_rights
from models.weights.references import may_need_hub
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Stop, Train
from models.wire_format import FROM_DEVICE, InvalidMessage, decode, encode
from streams.device.child import start_child
from streams.device.pipe import FramedPipe
from streams.failures import DeviceStuck

_EXIT_SECONDS = 5.0  # for a child that has closed its pipe; then it is killed
_MOST_PROGRESS, _MOST_MESSAGES = 100, 1000  # in the queue; a reader that keeps up leaves a few
_KILL_SECONDS = 30.0  # for a killed child; one that is still there waits in the kernel, for a driver or a disk

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ProcessEnded:
    """The last message of every child. reason: how it ended, such as `was killed by SIGSEGV`."""

    reason: str


Outgoing = StudioPlan | Render | Train | Cancel | Stop
Incoming = StudioReady | Progress | Checkpointed | Answer | CreativesError | ProcessEnded


class DeviceProcess:
    """One child. Its messages arrive in `messages`, in order; the last is ProcessEnded, and then `ended` is set.

    on_end: called once the child has ended. on_message: called with each message from the child as it arrives, before
    the message is in the queue; it raises InvalidMessage for one that nobody awaits.
    variables: patterns of environment variables to pass beside `child.PASSED_VARIABLES`.
    Raises DeviceUnavailable if the machine has no room for another process.
    """

    def __init__(
        self,
        entry: str,
        plan: StudioPlan,
        on_end: Callable[[], object] = lambda: None,
        on_message: Callable[[Incoming], object] = lambda _: None,
        variables: tuple[str, ...] = (),
    ) -> None:
        self.messages: asyncio.Queue[Incoming] = asyncio.Queue()
        self.ended = asyncio.Event()
        self._on_end = on_end
        self._on_message = on_message
        self._plan = plan
        self._kill_reason: str | None = None
        self._loop = asyncio.get_running_loop()
        self._pipe = FramedPipe()
        self.await_answers(False)
        self._exited = asyncio.Event()
        try:
            self._start(entry, variables)
        except (OSError, RuntimeError) as error:  # RuntimeError: `can't start new thread`
            detail = f"its process cannot be started ({error})."
            raise DeviceUnavailable(device=plan.device, detail=detail) from error
        self.pid = self._process.pid
        self._supervisor = asyncio.create_task(self._supervise(), name="device")

    def _start(self, entry: str, variables: tuple[str, ...]) -> None:
        """Start the child and the thread that waits for its exit, or neither."""
        self._socket, child_end = socket.socketpair()
        try:
            self._process = start_child(entry, child_end, variables, hub=may_need_hub(self._plan))
        except OSError:
            self._socket.close()
            raise
        finally:
            child_end.close()
        try:
            threading.Thread(target=self._wait_for_exit, name="device-exit", daemon=True).start()
        except RuntimeError:
            self._socket.close()
            self._process.kill()
            self._process.wait()
            raise

    def send(self, message: Outgoing) -> None:
        """Send in the background. Raises nothing: if the child has ended, ProcessEnded arrives in `messages`."""
        self._pipe.send(encode(message))

    def await_answers(self, awaited: bool) -> None:
        """State whether a job is running. If none is, a message with pictures ends the child before they are read."""
        self._pipe.awaits_blobs = awaited

    def isolation(self) -> tuple[str, ...]:
        """Return what the kernel refuses the child now; see `models.isolation.refused_rights`."""
        return refused_rights(self.pid)

    @property
    def killed(self) -> bool:
        """Whether this worker has killed the child. It may not have ended yet."""
        return self._kill_reason is not None

    def kill(self, reason: str) -> None:
        """Kill the child without waiting. reason: the text for ProcessEnded."""
        self._kill_reason = reason
        self._process.kill()

    async def kill_and_wait(self, reason: str) -> None:
        """Kill the child and wait until it has ended. Raises DeviceStuck if SIGKILL does not end it."""
        self.kill(reason)
        if not await self._ends_within(_KILL_SECONDS):
            raise DeviceStuck(pid=self.pid or 0, seconds=_KILL_SECONDS)

    async def stop(self, grace: float) -> None:
        """End the child: a Stop message, and SIGKILL after `grace` seconds. Leaves no zombie."""
        self.send(Stop())
        if grace and await self._ends_within(grace):
            return
        try:
            await self.kill_and_wait("was killed")
        except DeviceStuck as stuck:
            log.error("device process left behind", reason=str(stuck))  # noqa: TRY400 - one line

    async def startup_message(self, deadline: float, on_progress: Callable[[Progress], None]) -> Incoming:
        """Return the first message that is not Progress; ProcessEnded if there is none within `deadline` seconds."""
        try:
            async with asyncio.timeout(deadline):
                while isinstance(message := await self.messages.get(), Progress):
                    on_progress(message)
        except TimeoutError:
            return ProcessEnded(f"was not ready within {deadline:g} s")
        return message

    async def next_message(self, deadline: float) -> Incoming:
        """Return the next message. Kills the child if none arrives within `deadline` seconds; ProcessEnded follows."""
        try:
            async with asyncio.timeout(deadline):
                return await self.messages.get()
        except TimeoutError:
            if self.messages.empty():  # otherwise the worker's own loop was blocked, not the child
                await self.kill_and_wait(f"gave no sign of progress for {deadline:g} s and was killed")
        return await self.messages.get()

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)
        return self.ended.is_set()

    async def _supervise(self) -> None:
        """Receive until the child closes its pipe, wait for its exit, and report how it ended."""
        await asyncio.wait({asyncio.create_task(self._receive(), name="device-receive")})
        self._pipe.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), _EXIT_SECONDS)
        self._process.kill()
        await self._exited.wait()
        self.messages.put_nowait(ProcessEnded(self._kill_reason or _exit_reason(self._process.returncode)))
        self.ended.set()
        self._on_end()

    async def _receive(self) -> None:
        """Send the plan, then pass on what the child sends. An invalid message ends the child."""
        await self._pipe.open(self._socket)
        self.send(self._plan)
        try:
            while (frame := await self._pipe.receive()) is not None:
                message = decode(*frame, FROM_DEVICE)
                self._on_message(message)
                self._enqueue(message)
        except InvalidMessage as error:
            self.kill(f"sent an invalid message ({first_line(error)})")

    def _enqueue(self, message: Incoming) -> None:
        """Put a message in the queue, unless it is Progress that nobody reads. Raises InvalidMessage if it is full."""
        waiting = self.messages.qsize()
        if waiting >= _MOST_MESSAGES:
            raise InvalidMessage(f"{waiting} messages wait that no job awaits")
        if waiting < _MOST_PROGRESS or not isinstance(message, Progress):
            self.messages.put_nowait(message)

    def _wait_for_exit(self) -> None:
        """Wait for the child's exit, in a thread of its own."""
        self._process.wait()
        with suppress(RuntimeError):  # the event loop is closed, so nothing waits for this child
            self._loop.call_soon_threadsafe(self._exited.set)


def _exit_reason(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exited with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
