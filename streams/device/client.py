"""The way to the device: one child process, batches in front of it, deadlines behind it.

The worker's event loop never waits for the device: a hang is killed at its deadline, a crash restarts the child.
Neither loses a request, and only the request that does it again when it runs alone is blamed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from models.briefs import Brief, Rendering, StudioPlan, StudioReady, TrainingJob, TrainingResult
from models.errors import Cancelled, CreativesError, DeviceUnavailable, StageFailed
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Train
from streams.device.jobs import DeviceStatus, Job, JobQueue, OnCheckpoint, State
from streams.device.process import DeviceProcess, Gone, Incoming
from streams.failures import DeviceProcessDied, DeviceStuck, WeightsChanged
from streams.settings import DeviceSettings

log = structlog.get_logger(__name__)

_BACKOFF_CAP = 30.0


class DeviceClient:
    """The one owner of the device. entry: what the child runs, as `module:function`.

    die: told when no child can be had any more, though the lane had been started.
    """

    def __init__(
        self,
        plan: StudioPlan,
        settings: DeviceSettings,
        entry: str = "models.serving:serve",
        die: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._entry = entry
        self._die = die
        self._ready: StudioReady | None = None
        self._state: State = "stopped"
        self._process: DeviceProcess | None = None
        self._runner: asyncio.Task[None] | None = None
        self._jobs = JobQueue()
        self._running: dict[str, Job] = {}
        self._progress: Progress | None = None
        self._stages: dict[str, tuple[int, int]] = {}
        self._error_message: str | None = None
        self._ticket = self._restarts = self._failures = self._finished = 0

    @property
    def ready(self) -> StudioReady:
        """What the child said when it was loaded. Raises RuntimeError before `start`."""
        if self._ready is None:
            raise RuntimeError("the lane has not been started")
        return self._ready

    def status(self) -> DeviceStatus:
        """Return what the lane is doing."""
        progress = self._progress
        return DeviceStatus(
            state=self._state,
            pid=self._process.pid if self._process else None,
            restarts=self._restarts,
            queued=len(self._jobs),
            running=tuple(self._running),
            oldest_seconds=self._jobs.oldest(asyncio.get_running_loop().time()),
            finished=self._finished,
            stage=progress.stage if progress else None,
            done=progress.done if progress else 0,
            total=progress.total if progress else 0,
            stages=dict(self._stages),
            error_message=self._error_message,
        )

    async def start(self) -> StudioReady:
        """Load the models; return once they are warm. Raises the child's own named error, and may be tried again."""
        try:
            process = await self._open()
            self._runner = asyncio.create_task(self._run(process), name="device-client")
            self._runner.add_done_callback(self._ended)
        except CreativesError as error:
            self._error_message = str(error)
            raise
        finally:
            if self._runner is None:
                await self.stop(grace=0.0)
        return self.ready

    async def stop(self, grace: float = 5.0) -> None:
        """End the child, by force `grace` seconds after it was asked. Whoever still waits gets Cancelled."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})
            self._runner = None
        self._jobs.finish_all(Cancelled())
        self._running = {}
        if self._process is not None:
            await self._process.stop(grace)
            self._process = None
        self._state, self._progress = "stopped", None

    async def render(self, brief: Brief) -> Rendering:
        """Return the pictures of a brief. Joins the job where the same brief is in flight.

        Raises the device's named errors, DeviceProcessDied when this brief alone ended the child, Cancelled at stop.
        """
        result = await self._end_of(await self._entered(brief))
        assert isinstance(result, Rendering)
        return result

    async def train(self, training_job: TrainingJob, on_checkpoint: OnCheckpoint) -> TrainingResult:
        """Return the learned product; errors as for `render`. Cancelling the last caller gives the lesson up.

        on_checkpoint: awaited with step and file after each checkpoint, one at a time, the newest if it is slow.
        """
        job = await self._entered(training_job)
        uploads = [] if job.waiters else [asyncio.create_task(job.pass_on(on_checkpoint))]
        try:
            result = await self._end_of(job)
        finally:
            for upload in uploads:
                upload.cancel()
                await asyncio.wait({upload})
        assert isinstance(result, TrainingResult)
        return result

    async def _entered(self, work: Brief | TrainingJob) -> Job:
        """Enter work; what has its request id and differs (one event id for two segments) is waited for, not joined."""
        while other := self._jobs.conflicting_job(work):
            await other.ended.wait()
        return self._jobs.enter(work)

    async def _end_of(self, job: Job) -> Any:
        waiter = asyncio.get_running_loop().create_future()
        job.waiters.append(waiter)
        try:
            return await waiter
        finally:
            job.waiters.remove(waiter)
            if not job.waiters and not job.ended.is_set():
                self._abandon(job)

    def _abandon(self, job: Job) -> None:
        """Nobody waits for this job any more: a running brief is short and ends by itself, a lesson is given up."""
        running = self._running.get(job.request_id) is job
        if not running or isinstance(job.work, TrainingJob):
            self._jobs.drop(job)
        if running and isinstance(job.work, TrainingJob) and self._process is not None:
            self._process.send(Cancel(self._ticket))

    async def _open(self) -> DeviceProcess:
        """Start a child and wait until it is ready. Raises its named error, or DeviceUnavailable."""
        self._state = "loading" if self._ready is None else "restarting"
        process = self._process = DeviceProcess(self._entry, self._plan, self._jobs.work_arrived.set, self._on_message)
        message = await process.first_message(self._settings.start_deadline, self._progressed)
        if isinstance(message, StudioReady):
            if self._ready is None or message.recipe.fingerprint == self._ready.recipe.fingerprint:
                self._ready, self._state, self._progress, self._error_message = message, "idle", None, None
                return process
            message = WeightsChanged()
        await process.end("did not start")
        how = message.how if isinstance(message, Gone) else "did not say that it is ready"
        detail = f"its process {how} while it loaded the models."
        raise message if isinstance(message, CreativesError) else _unavailable(self._plan, detail)

    async def _run(self, process: DeviceProcess) -> None:
        while True:
            while batch := await self._next_batch(process):
                await self._work(process, batch)
            process = await self._reopen()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        """Say that nobody runs jobs any more; for who waits it is an outage, so that nothing is buried."""
        if runner.cancelled() or not isinstance(error := runner.exception(), Exception):
            return
        self._error_message = str(error) or repr(error)
        self._running = {}
        self._jobs.finish_all(_unavailable(self._plan, self._error_message))
        self._die(error)

    async def _reopen(self) -> DeviceProcess:
        """Replace a child that is gone, for as long as it takes; who waits keeps waiting meanwhile.

        Raises WeightsChanged and DeviceStuck, which no new child can mend.
        """
        self._restarts += 1
        self._state = "restarting"
        while True:
            if self._failures:
                await asyncio.sleep(min(_BACKOFF_CAP, 0.25 * 2.0 ** min(self._failures, 10)))
            self._failures += 1
            try:
                return await self._open()
            except (WeightsChanged, DeviceStuck):
                raise
            except CreativesError as error:
                self._error_message = str(error)
                log.error("device process does not start", error=self._error_message, attempts=self._failures)  # noqa: TRY400

    async def _next_batch(self, process: DeviceProcess) -> list[Job]:
        """Return the jobs to do together, or nothing once the child is gone."""
        while not process.gone.is_set():
            await self._jobs.work_arrived.wait()
            if self._settings.linger and self._jobs.may_wait_for_more(self._settings.batch):
                await asyncio.sleep(self._settings.linger)
            if not process.gone.is_set() and (batch := self._jobs.take(self._settings.batch)):
                return batch
        return []

    async def _work(self, process: DeviceProcess, batch: list[Job]) -> None:
        """Bring the jobs of one batch to their answers, or to the child's end."""
        self._ticket += 1
        self._state, self._progress, self._stages = "busy", None, {}
        self._running = {job.request_id: job for job in batch}
        training_jobs = [job.work for job in batch if isinstance(job.work, TrainingJob)]
        briefs = tuple(job.work for job in batch if isinstance(job.work, Brief))
        process.send(Train(self._ticket, training_jobs[0]) if training_jobs else Render(self._ticket, briefs))
        while self._running:
            message = await process.next_message(self._settings.deadline)
            if isinstance(message, Gone):
                self._died(message.how)

    def _on_message(self, message: Incoming) -> None:
        """Take what the child says of the present batch as it comes: a task would come to it a little later."""
        match message:
            case Progress(ticket=self._ticket) as progress:
                self._progressed(progress)
            case Checkpointed(ticket=self._ticket) as checkpoint:
                for job in self._running.values():
                    job.checkpoints.put_nowait(checkpoint)
            case Answer(ticket=self._ticket) as answer:
                self._answered(answer)

    def _progressed(self, progress: Progress) -> None:
        self._progress = progress
        self._stages[progress.stage] = progress.done, progress.total

    def _answered(self, answer: Answer) -> None:
        job = self._running.pop(answer.request_id, None)
        if job is None:
            return
        end = answer.result or answer.error or StageFailed(stage="answer", kind="Answer", detail="it is empty")
        if not self._running:
            self._state, self._progress = "idle", None
        self._failures = 0
        self._finished += 1
        self._jobs.clear_crashes(job)
        self._jobs.finish(job, end)

    def _died(self, how: str) -> None:
        """Blame the one job that was running; of several nobody is blamed yet, each has to show it alone."""
        lost = list(self._running.values())
        self._running = {}
        log.warning("device process died", how=how, jobs=[job.request_id for job in lost])
        if len(lost) > 1:
            self._jobs.requeue_alone(lost)
            return
        crashes, limit = self._jobs.record_crash(lost[0]), self._settings.max_crashes
        if crashes >= limit:
            self._jobs.clear_crashes(lost[0])  # it will be buried; replayed by a person, it gets its tries anew
        error = DeviceProcessDied(request_id=lost[0].request_id, how=how, crashes=crashes, limit=limit)
        self._jobs.finish(lost[0], error)


def _unavailable(plan: StudioPlan, detail: str) -> DeviceUnavailable:
    return DeviceUnavailable(device=plan.device, detail=detail)
