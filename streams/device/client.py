"""The device client: batches jobs for the one device process, enforces deadlines, and replaces a child that ended.

The worker's event loop never waits for the device. A child that hangs is killed at its deadline, and a child that
crashed is replaced. Neither loses a request: the jobs of a lost batch run again, each alone, so that a further crash
counts against the request that caused it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from models.briefs import Brief, Rendering, StudioPlan, StudioReady, TrainingJob, TrainingResult
from models.errors import Cancelled, CreativesError, OutOfDeviceMemory, StageFailed, first_line
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Train
from models.wire_format import InvalidMessage
from streams.device.jobs import DeviceJob, JobQueue, OnCheckpoint
from streams.device.process import DeviceProcess, Incoming, ProcessEnded
from streams.device.starting import ProcessStarter
from streams.device.status import DeviceStatus, StatusTracker
from streams.setting_types import split_patterns
from streams.settings import DeviceSettings

log = structlog.get_logger(__name__)

ENTRY = "models.serving:serve"  # what the child process runs, unless a test replaces it


class DeviceClient:
    """Owns the device process. entry: the function that the child runs, as `module:function`.

    stop_worker: called with the reason if a child that ended cannot be replaced.
    """

    def __init__(
        self,
        plan: StudioPlan,
        settings: DeviceSettings,
        entry: str = ENTRY,
        stop_worker: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._stop_worker = stop_worker
        self._runner: asyncio.Task[None] | None = None
        self._jobs = JobQueue()
        self._running: dict[str, DeviceJob] = {}
        self._status = StatusTracker()
        variables = split_patterns(settings.variables)
        make_process = partial(
            DeviceProcess, entry, plan, self._jobs.work_arrived.set, self._on_message, variables=variables
        )
        self._starter = ProcessStarter(plan, settings, self._status, make_process)
        self._neighbour: DeviceClient | None = None
        self._ticket = 0  # the number of the running batch; an answer to an earlier batch is ignored
        self._alone = False  # whether the running batch has only one job
        self._fresh = False  # whether the process has answered no job yet

    @property
    def ready(self) -> StudioReady:
        """The description of the loaded studio. Raises RuntimeError before `start`."""
        if self._starter.ready is None:
            raise RuntimeError("the device client has not been started")
        return self._starter.ready

    def share_device(self, neighbour: DeviceClient) -> None:
        """Take note of the worker's other client. Memory that runs out while it is busy is no job's fault."""
        self._neighbour, neighbour._neighbour = neighbour, self

    def status(self) -> DeviceStatus:
        """Return the state of the device process and its queue."""
        pid = self._starter.process.pid if self._starter.process else None
        oldest = self._jobs.oldest_age(asyncio.get_running_loop().time())
        return self._status.snapshot(pid, len(self._jobs), tuple(self._running), oldest)

    async def start(self) -> StudioReady:
        """Load the models; return once they are warm. Raises the child's named error; `start` may be called again."""
        try:
            process = await self._starter.start()
            self._runner = asyncio.create_task(self._run(process), name="device-client")
            self._runner.add_done_callback(self._on_runner_end)
        except CreativesError as error:
            self._status.error_message = str(error)
            raise
        finally:
            if self._runner is None:
                await self.stop(grace=0.0)
        return self.ready

    async def stop(self, grace: float = 5.0) -> None:
        """End the child, by force after `grace` seconds, or at once if it is loading or busy. Callers get Cancelled."""
        grace = grace if self._status.state == "idle" else 0.0
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})
            self._runner = None
        self._jobs.finish_all(Cancelled())
        self._running = {}
        if self._starter.process is not None:
            await self._starter.process.stop(grace)
            self._starter.process = None
        self._status.change_state("stopped")

    async def render(self, brief: Brief) -> Rendering:
        """Return the pictures of a brief. Callers with the same brief share one job.

        Raises the device's named errors, DeviceProcessDied if this brief alone ended the child, TooLargeForDevice if it
        does not fit into the device's memory, Cancelled at `stop`.
        """
        result = await self._wait_for(await self._enter(brief))
        assert isinstance(result, Rendering)
        return result

    async def train(self, training_job: TrainingJob, on_checkpoint: OnCheckpoint) -> TrainingResult:
        """Return the trained concept; errors as for `render`. Training stops when its last caller is cancelled.

        on_checkpoint: awaited with step and file after each checkpoint. Calls never overlap; while one runs, only the
        newest checkpoint waits.
        """
        job = await self._enter(training_job)
        async with job.forwarding_checkpoints(on_checkpoint):
            result = await self._wait_for(job)
        assert isinstance(result, TrainingResult)
        return result

    async def _enter(self, request: Brief | TrainingJob) -> DeviceJob:
        """Return the job of a request; wait first while a different request with the same id is unfinished."""
        while other := self._jobs.conflicting_job(request):
            await other.finished.wait()
        return self._jobs.enter(request)

    async def _wait_for(self, job: DeviceJob) -> Any:
        waiter = asyncio.get_running_loop().create_future()
        job.waiters.append(waiter)
        try:
            return await waiter
        finally:
            job.waiters.remove(waiter)
            if not job.waiters and not job.finished.is_set():
                self._abandon(job)

    def _abandon(self, job: DeviceJob) -> None:
        """Drop a job without callers. A running brief is short and may finish; running training is cancelled."""
        running = self._running.get(job.request_id) is job
        if not running or isinstance(job.request, TrainingJob):
            self._jobs.drop(job)
        if running and isinstance(job.request, TrainingJob) and self._starter.process is not None:
            self._starter.process.send(Cancel(self._ticket))

    async def _run(self, process: DeviceProcess) -> None:
        """Run batches until cancelled, on one child after another."""
        while True:
            self._fresh = True
            while batch := await self._next_batch(process):
                await self._run_batch(process, batch)
            process = await self._starter.replace()

    def _on_runner_end(self, runner: asyncio.Task[None]) -> None:
        """Fail every job as an outage, which dead-letters nothing, and stop the worker."""
        if runner.cancelled() or not isinstance(error := runner.exception(), Exception):
            return
        self._status.error_message = str(error) or repr(error)
        self._running = {}
        self._jobs.finish_all(self._starter.unavailable(self._status.error_message))
        self._stop_worker(error)

    async def _next_batch(self, process: DeviceProcess) -> list[DeviceJob]:
        """Return the jobs of the next batch, or an empty list once the child has ended."""
        if process.killed:
            await process.ended.wait()
        while not process.ended.is_set():
            await self._jobs.work_arrived.wait()
            if self._settings.linger and self._jobs.may_wait_for_more(self._settings.batch):
                await asyncio.sleep(self._settings.linger)
            if not process.ended.is_set() and (batch := self._jobs.take_batch(self._settings.batch)):
                return batch
        return []

    async def _run_batch(self, process: DeviceProcess, batch: list[DeviceJob]) -> None:
        """Send one batch and wait until every job has its answer or the child has ended."""
        self._ticket += 1
        self._status.change_state("busy")
        process.await_answers(True)
        self._running = {job.request_id: job for job in batch}
        self._alone = len(batch) == 1
        training_jobs = [job.request for job in batch if isinstance(job.request, TrainingJob)]
        briefs = tuple(job.request for job in batch if isinstance(job.request, Brief))
        try:
            process.send(Train(self._ticket, training_jobs[0]) if training_jobs else Render(self._ticket, briefs))
        except InvalidMessage as error:
            self._fail_batch(StageFailed(stage="send", kind="InvalidMessage", detail=first_line(error)))
        while self._running:
            message = await process.next_message(self._settings.deadline)
            if isinstance(message, ProcessEnded):
                lost, self._running = list(self._running.values()), {}
                log.warning("device process died", how=message.reason, jobs=[job.request_id for job in lost])
                self._jobs.handle_crash(lost, message.reason, self._settings.max_crashes)
        process.await_answers(False)

    def _fail_batch(self, error: Exception) -> None:
        failed, self._running = self._running, {}
        self._status.change_state("idle")
        for job in failed.values():
            self._jobs.finish(job, error)

    def _on_message(self, message: Incoming) -> None:
        """Handle a message for the running batch at once; `_run_batch` would see it a turn of the loop later."""
        match message:
            case Progress(ticket=self._ticket) as progress if self._running:
                self._status.add_progress(progress)
            case Checkpointed(ticket=self._ticket) as checkpoint if self._running:
                for job in self._running.values():
                    if self._check_path(job, checkpoint.path):
                        job.checkpoints.put_nowait(checkpoint)
            case Answer(ticket=self._ticket) as answer if answer.request_id in self._running:
                self._on_answer(self._running[answer.request_id], answer)
            case _ if self._status.state in {"idle", "busy"}:
                raise InvalidMessage(f"no running job awaits this {type(message).__name__}")

    def _check_path(self, job: DeviceJob, path: str) -> bool:
        """Return whether the job may write this file. If not, kill the child: the worker would upload any file."""
        if job.owns(path):
            return True
        assert self._starter.process is not None
        self._starter.process.kill("named a file outside its job's folder")
        return False

    def _on_answer(self, job: DeviceJob, answer: Answer) -> None:
        result = job.result_in(answer)
        if isinstance(result, TrainingResult) and not self._check_path(job, result.path):
            return  # the job is lost with its child
        del self._running[job.request_id]
        if not self._running:
            self._status.change_state("idle")
        self._status.finished += 1
        self._starter.attempts = 0
        if isinstance(result, OutOfDeviceMemory):
            self._on_out_of_memory(job, result, crowded=answer.crowded)
        else:
            self._jobs.clear_crashes(job)
            self._jobs.finish(job, result)
        self._fresh = False

    def _on_out_of_memory(self, job: DeviceJob, error: OutOfDeviceMemory, *, crowded: bool) -> None:
        """Fail the job. If it had the device to itself, replace the child: the next attempt gets a fresh one."""
        had_all = self._alone and not crowded and not (self._neighbour and self._neighbour.status().running)
        self._jobs.handle_out_of_memory(job, error, self._settings.max_crashes, counts=had_all and self._fresh)
        if had_all and self._starter.process is not None:
            self._starter.process.kill("ran out of memory and was replaced")
