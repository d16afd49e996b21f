"""The queue in front of the device. It records who waits for each job, and which jobs crashed the child."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from models.briefs import Brief, Rendering, TrainingJob, TrainingResult
from models.errors import Cancelled, CreativesError, OutOfDeviceMemory, StageFailed
from models.wire import Answer, Checkpointed
from streams.failures import DeviceProcessDied, TooLargeForDevice

log = structlog.get_logger(__name__)

OnCheckpoint = Callable[[int, Path], Awaitable[None]]

_REMEMBERED = 10_000  # jobs


@dataclass(eq=False)
class DeviceJob:
    """A brief or a training job on its way through the device.

    entered_at: event loop time. runs_alone: the job shares no batch. That holds for training jobs, and for briefs that
    may have crashed the child or ran out of the device's memory.
    waiters: one future per caller, so that cancelling one caller does not affect the others.
    """

    request: Brief | TrainingJob
    entered_at: float
    runs_alone: bool
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    waiters: list[asyncio.Future[Any]] = field(default_factory=list)

    @cached_property
    def checkpoints(self) -> asyncio.Queue[Checkpointed]:
        """The checkpoints of a training job that `_forward_checkpoints` has not handed over yet."""
        return asyncio.Queue()

    @property
    def request_id(self) -> str:
        """The id of the request that this job answers."""
        return self.request.request_id

    def owns(self, path: str) -> bool:
        """Return whether `path` is a file that this job may write, or the concept that it only scores."""
        if not isinstance(self.request, TrainingJob):
            return False
        inside = Path(path).resolve().parent == Path(self.request.workdir).resolve()
        return inside or (self.request.concept is not None and path == self.request.concept.path)

    def result_in(self, answer: Answer) -> Rendering | TrainingResult | CreativesError:
        """Return what an answer holds, or StageFailed if it is empty or reports a cancellation that never was."""
        result = answer.result or answer.error or StageFailed(stage="answer", kind="Answer", detail="it is empty")
        if isinstance(result, Cancelled) and not self.finished.is_set():
            return StageFailed(stage="answer", kind="Cancelled", detail="the worker did not cancel it")
        return result

    @asynccontextmanager
    async def forwarding_checkpoints(self, on_checkpoint: OnCheckpoint) -> AsyncIterator[None]:
        """Hand over checkpoints while the block runs. Only the job's first caller gets them."""
        forwarding = [] if self.waiters else [asyncio.create_task(self._forward_checkpoints(on_checkpoint))]
        try:
            yield
        finally:
            for task in forwarding:
                task.cancel()
                await asyncio.wait({task})

    async def _forward_checkpoints(self, on_checkpoint: OnCheckpoint) -> None:
        """Hand over the newest checkpoint until cancelled. Training goes on if a checkpoint cannot be stored."""
        while True:
            newest = await self.checkpoints.get()
            while not self.checkpoints.empty():
                newest = self.checkpoints.get_nowait()
            try:
                await on_checkpoint(newest.step, Path(newest.path))
            except CreativesError as error:
                log.warning("checkpoint not stored", step=newest.step, error=str(error))


class _Counts(OrderedDict[str, int]):
    """Counts by request id, of the newest requests."""

    def add(self, request_id: str, number: int = 1) -> int:
        """Add to a count and return it."""
        self[request_id] = self.pop(request_id, 0) + number
        if len(self) > _REMEMBERED:
            self.popitem(last=False)
        return self[request_id]


class JobQueue:
    """All unfinished jobs by request id, and the queue of those that wait for the device, first in first out.

    work_arrived: set while jobs wait; the child's end sets it too, to wake the task that runs the batches.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, DeviceJob] = {}
        self._queue: deque[DeviceJob] = deque()
        self._crashes = _Counts()
        self._memory_failures = _Counts()
        self.work_arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def oldest_age(self, now: float) -> float:
        """Return the age in seconds of the oldest unfinished job, 0 if there is none."""
        return max((now - job.entered_at for job in self._jobs.values()), default=0.0)

    def conflicting_job(self, request: Brief | TrainingJob) -> DeviceJob | None:
        """Return the unfinished job that has the id but not the content of this request, None if there is none."""
        job = self._jobs.get(request.request_id)
        return job if job is not None and job.request != request else None

    def enter(self, request: Brief | TrainingJob) -> DeviceJob:
        """Return the job of this request: the unfinished one, or a new one at the end of the queue."""
        job = self._jobs.get(request.request_id)
        if job is None:
            suspect = request.request_id in self._crashes or request.request_id in self._memory_failures
            runs_alone = isinstance(request, TrainingJob) or suspect
            job = DeviceJob(request, asyncio.get_running_loop().time(), runs_alone)
            self._jobs[request.request_id] = job
            self._queue.append(job)
            self.work_arrived.set()
        return job

    def take_batch(self, size: int) -> list[DeviceJob]:
        """Remove and return the next batch: at most `size` neighbours that may share one."""
        batch = [self._queue.popleft()] if self._queue else []
        while batch and not batch[0].runs_alone and len(batch) < size and self._queue and not self._queue[0].runs_alone:
            batch.append(self._queue.popleft())
        if not self._queue:
            self.work_arrived.clear()
        return batch

    def may_wait_for_more(self, size: int) -> bool:
        """Return whether a short wait could fill the next batch of `size`."""
        return 0 < len(self._queue) < size and not any(job.runs_alone for job in self._queue)

    def handle_crash(self, lost: list[DeviceJob], reason: str, limit: int) -> None:
        """Run the jobs of a lost batch again, or fail a job that ran alone with DeviceProcessDied.

        If several jobs ran, any of them may have crashed the child. Each runs alone next, so that a further crash has
        one possible cause.
        """
        if len(lost) > 1:
            self._requeue_alone(lost)
            return
        job = lost[0]
        crashes = self._crashes.add(job.request_id)
        if crashes >= limit:
            self.clear_crashes(job)  # its event is dead-lettered; a replay gets all its attempts again
        self.finish(job, DeviceProcessDied(request_id=job.request_id, how=reason, crashes=crashes, limit=limit))

    def _requeue_alone(self, jobs: list[DeviceJob]) -> None:
        for job in reversed(jobs):
            if job.waiters:
                job.runs_alone = True
                self._queue.appendleft(job)
                self.work_arrived.set()
            else:
                self.finish(job, Cancelled())

    def handle_out_of_memory(self, job: DeviceJob, error: OutOfDeviceMemory, limit: int, *, counts: bool) -> None:
        """Fail a job as an outage, or with TooLargeForDevice at its failure number `limit`. It runs alone from now on.

        counts: the job had a fresh process and the whole device to itself, so that nothing else can be the cause.
        """
        failures = self._memory_failures.add(job.request_id, int(counts))
        log.warning("out of device memory", request_id=job.request_id, failures=failures, error=str(error))
        if failures < limit:
            self.finish(job, error)
            return
        self.clear_crashes(job)
        detail = str(error.fields["detail"])
        self.finish(job, TooLargeForDevice(request_id=job.request_id, failures=failures, limit=limit, detail=detail))

    def drop(self, job: DeviceJob) -> None:
        """Forget a job that no caller waits for. If it is running, the next caller gets a new job all the same."""
        if job in self._queue:
            self._queue.remove(job)
        if not self._queue:
            self.work_arrived.clear()
        self.finish(job, Cancelled())

    def clear_crashes(self, job: DeviceJob) -> None:
        """Forget the crashes that this job caused, and how often it ran out of memory."""
        self._crashes.pop(job.request_id, None)
        self._memory_failures.pop(job.request_id, None)

    def finish(self, job: DeviceJob, result: Rendering | TrainingResult | Exception) -> None:
        """Give every caller that waits for `job` its result or error."""
        if self._jobs.get(job.request_id) is job:
            del self._jobs[job.request_id]
        job.finished.set()
        for waiter in job.waiters:
            if waiter.done():
                continue
            if isinstance(result, Exception):
                waiter.set_exception(result)
                waiter.exception()  # a caller that is being cancelled never reads it, and asyncio would log that
            else:
                waiter.set_result(result)

    def finish_all(self, error: Exception) -> None:
        """Give every job, waiting or running, the same error."""
        self._queue.clear()
        self.work_arrived.clear()
        for job in list(self._jobs.values()):
            self.finish(job, error)
