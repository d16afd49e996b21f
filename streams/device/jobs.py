"""The jobs in front of the device: who waits for what, in which order, and which of them ended the child before."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import structlog

from models.briefs import Brief, Rendering, TrainingJob, TrainingResult
from models.errors import Cancelled, CreativesError
from models.wire import Checkpointed

log = structlog.get_logger(__name__)

OnCheckpoint = Callable[[int, Path], Awaitable[None]]
State = Literal["stopped", "loading", "idle", "busy", "restarting"]

_REMEMBERED_CRASHES = 10_000


@dataclass(frozen=True)
class DeviceStatus:
    """The lane at one moment. restarts: children lost so far. stage, done, total: of the running batch.

    stages: done and total of every stage that the running batch, or else the last one, has come to, in order: a short
    stage is over between two looks. oldest_seconds: age of the oldest unfinished job. trouble: why the child is not
    there, if it is not.
    """

    state: State
    pid: int | None
    restarts: int
    queued: int
    running: tuple[str, ...]
    oldest_seconds: float
    finished: int
    stage: str | None = None
    done: int = 0
    total: int = 0
    stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    error_message: str | None = None


@dataclass(eq=False)
class Job:
    """One brief or lesson. alone: runs in a batch of its own, as lessons do, and briefs under suspicion.

    waiters: a future for everyone who waits for its end, so that one who gives up takes it from nobody else.
    """

    work: Brief | TrainingJob
    since: float
    alone: bool
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    waiters: list[asyncio.Future[Any]] = field(default_factory=list)

    @cached_property
    def checkpoints(self) -> asyncio.Queue[Checkpointed]:
        """What a lesson has on disk so far."""
        return asyncio.Queue()

    @property
    def request_id(self) -> str:
        """The request this job answers."""
        return self.work.request_id

    async def pass_on(self, on_checkpoint: OnCheckpoint) -> None:
        """Hand checkpoints over, for ever; one that cannot be stored is no reason to stop learning."""
        while True:
            newest = await self.checkpoints.get()
            while not self.checkpoints.empty():
                newest = self.checkpoints.get_nowait()
            try:
                await on_checkpoint(newest.step, Path(newest.path))
            except CreativesError as error:
                log.warning("checkpoint not stored", step=newest.step, error=str(error))


class JobQueue:
    """Unfinished jobs by request id; those that wait for the device, first come first served.

    stirred: set while jobs wait, and by whoever wants the device's owner to look up.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._crashes: OrderedDict[str, int] = OrderedDict()
        self.work_arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def oldest(self, now: float) -> float:
        """Return the age in seconds of the oldest unfinished job, 0 without any."""
        return max((now - job.since for job in self._jobs.values()), default=0.0)

    def conflicting_job(self, work: Brief | TrainingJob) -> Job | None:
        """Return the unfinished job that has this work's request id and is other work, if there is one."""
        job = self._jobs.get(work.request_id)
        return job if job is not None and job.work != work else None

    def enter(self, work: Brief | TrainingJob) -> Job:
        """Return the job of this request: the unfinished one, or a new one at the queue's end."""
        job = self._jobs.get(work.request_id)
        if job is None:
            alone = isinstance(work, TrainingJob) or work.request_id in self._crashes
            job = self._jobs[work.request_id] = Job(work, asyncio.get_running_loop().time(), alone)
            self._queue.append(job)
            self.work_arrived.set()
        return job

    def take(self, most: int) -> list[Job]:
        """Return the next batch: neighbours that may share one, at most `most` of them."""
        batch = [self._queue.popleft()] if self._queue else []
        while batch and not batch[0].alone and len(batch) < most and self._queue and not self._queue[0].alone:
            batch.append(self._queue.popleft())
        if not self._queue:
            self.work_arrived.clear()
        return batch

    def may_wait_for_more(self, most: int) -> bool:
        """Return whether waiting a little could fill the next batch."""
        return 0 < len(self._queue) < most and not any(job.alone for job in self._queue)

    def requeue_alone(self, jobs: list[Job]) -> None:
        """Put the jobs of a lost batch in front, each to run alone: so the next loss names its cause."""
        for job in reversed(jobs):
            if job.waiters:
                job.alone = True
                self._queue.appendleft(job)
                self.work_arrived.set()
            else:
                self.finish(job, Cancelled())

    def drop(self, job: Job) -> None:
        """Forget a job nobody waits for. A running one goes on, but whoever asks again gets a job of their own."""
        if job in self._queue:
            self._queue.remove(job)
        if not self._queue:
            self.work_arrived.clear()
        self.finish(job, Cancelled())

    def record_crash(self, job: Job) -> int:
        """Count that this job, alone, ended the child; return how often it has."""
        crashes = self._crashes.pop(job.request_id, 0) + 1
        self._crashes[job.request_id] = crashes
        if len(self._crashes) > _REMEMBERED_CRASHES:
            self._crashes.popitem(last=False)
        return crashes

    def clear_crashes(self, job: Job) -> None:
        """Forget that this job ever ended the child."""
        self._crashes.pop(job.request_id, None)

    def finish(self, job: Job, end: Rendering | TrainingResult | Exception) -> None:
        """Give everyone who waits for `job` its end."""
        if self._jobs.get(job.request_id) is job:
            del self._jobs[job.request_id]
        job.ended.set()
        for waiter in job.waiters:
            if waiter.done():
                continue
            if isinstance(end, Exception):
                waiter.set_exception(end)
                waiter.exception()  # who is just giving up does not look at it, which asyncio would complain about
            else:
                waiter.set_result(end)

    def finish_all(self, end: Exception) -> None:
        """End every job, waiting or running."""
        self._queue.clear()
        self.work_arrived.clear()
        for job in list(self._jobs.values()):
            self.finish(job, end)
