"""The device process: reads jobs from a pipe, reports progress, and answers each brief as soon as it is done.

A thread encodes the files of one brief while the next brief is on the device; at most one brief waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from models.briefs import Brief, Stage, StudioPlan, StudioReady
from models.connection import Connection
from models.devices import memory_of_others
from models.errors import Cancelled, CreativesError, OutOfDeviceMemory, StageFailed
from models.isolation import drop_network
from models.opening import open_studio
from models.rendering.concept_shelf import group_by_concept
from models.stages import free_memory, stage
from models.studio import DrawnBrief, Studio
from models.weights import vocabulary
from models.weights.references import is_path
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Stop, Train
from models.wire_format import InvalidMessage

Job = Render | Train
_CROWDED = 2**28  # bytes; other processes' memory may vary by less without an effect


def serve(connection: Connection, plan: StudioPlan) -> None:
    """Run until Stop or until the worker is gone. Sends StudioReady first, or the error if the studio cannot open."""
    pipe = Pipe(connection)
    try:
        with stage("load"), collected_notes() as notes:
            studio = open_studio(plan, partial(_on_fetched, plan))
            studio.warm_up()
            ready = studio_ready(studio, notes)
    except CreativesError as error:
        _log_cause(error)
        pipe.send(error)
        return
    pipe.send(ready)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode") as encoding:
        runner = JobRunner(studio, pipe, encoding)
        for job in pipe.jobs():
            runner.run(job)


def _on_fetched(plan: StudioPlan) -> None:
    """Drop the network before the first weight file is read. A DINO hub id is fetched later, by the first training."""
    if not plan.network and (plan.dino is None or is_path("dino", plan.dino)):
        drop_network()


@contextlib.contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Yield a list of the log lines that `models` writes in the block. Afterwards its warnings go to stderr."""
    notes: list[str] = []
    collector = logging.Handler(logging.INFO)
    collector.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("models")
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield notes
    finally:
        logger.removeHandler(collector)
        logger.setLevel(logging.WARNING)
        logger.propagate = True


def studio_ready(studio: Studio, notes: Sequence[str] = ()) -> StudioReady:
    """Return the facts about a studio that the worker needs. notes: what loading found out about the weights."""
    tokenizer = studio.generator.pipeline.tokenizer
    return StudioReady(
        studio.recipe,
        str(studio.device),
        str(vocabulary.vocabulary_path(tokenizer)),
        tokenizer.model_max_length,
        studio.negative_prompt,
        {name: tuple(words) for name, words in studio.vocabulary.items()},
        tuple(notes),
    )


class Pipe:
    """The connection to the worker. A thread reads it: jobs join a queue, cancellations take effect at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | Stop] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, name="read", daemon=True).start()

    def send(self, message: object) -> None:
        """Send one message; if the worker is gone, the process exits."""
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(0)

    def jobs(self) -> Iterator[Job]:
        """Yield jobs until Stop."""
        while not isinstance(job := self._jobs.get(), Stop):
            yield job

    def check(self, ticket: int) -> None:
        """Raise Cancelled if the worker cancelled the job of this ticket."""
        if ticket in self._cancelled:
            raise Cancelled

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                # The worker is gone. Exit at once: nothing here can interrupt a kernel on the device.
                os._exit(0)
            except InvalidMessage:
                traceback.print_exc()
                os._exit(1)
            if isinstance(message, Cancel):
                self._cancelled.add(message.ticket)
                continue
            self._jobs.put(message)
            if isinstance(message, Stop):
                return


class JobRunner:
    """Runs the jobs one after another."""

    def __init__(self, studio: Studio, pipe: Pipe, encoding: ThreadPoolExecutor) -> None:
        self.studio, self.pipe, self.encoding = studio, pipe, encoding
        self.waiting: Future[None] | None = None
        self.memory_of_others = memory_of_others(studio.device)

    def run(self, job: Job) -> None:
        """Answer every request of the job. Briefs with the same concept are rendered together, so it is loaded once."""
        if isinstance(job, Train):
            self._train(job)
        else:
            for brief in group_by_concept(job.briefs):
                self._render(job.ticket, brief)

    def _render(self, ticket: int, brief: Brief) -> None:
        reporter = PipeReporter(self.pipe, ticket)
        try:
            reporter.check()
            drawn = self.studio.draw(brief, reporter.progress)
        except CreativesError as error:
            self._answer_error(ticket, brief.request_id, error)
            return
        if self.waiting is not None:
            self.waiting.result()
        self.waiting = self.encoding.submit(self._encode, ticket, drawn)

    def _encode(self, ticket: int, drawn: DrawnBrief) -> None:
        request_id = drawn.brief.request_id
        try:
            rendering = self.studio.encode(drawn, PipeReporter(self.pipe, ticket).progress)
            with stage("encode"):  # a message has a size limit
                self.pipe.send(Answer(ticket, request_id, rendering))
        except CreativesError as error:
            self._answer_error(ticket, request_id, error)

    def _train(self, job: Train) -> None:
        from models.learning import training_job  # only workers that train need it

        reporter = PipeReporter(self.pipe, job.ticket)
        try:
            reporter.check()
            with stage("train"):
                result = training_job.run_training_job(self.studio, job.training_job, reporter)
                self.pipe.send(Answer(job.ticket, job.training_job.request_id, result))
        except CreativesError as error:
            self._answer_error(job.ticket, job.training_job.request_id, error)
        finally:
            self.studio.shelf.forget(job.training_job.product_id)
            free_memory()  # the other device process of a worker with both roles may need it

    def _answer_error(self, ticket: int, request_id: str, error: CreativesError) -> None:
        _log_cause(error)
        crowded = False
        if isinstance(error, OutOfDeviceMemory):
            free_memory(error)  # once more: the calls above the stage have ended only now
            crowded = memory_of_others(self.studio.device) > self.memory_of_others + _CROWDED
        self.pipe.send(Answer(ticket, request_id, None, error, crowded))


class PipeReporter:
    """Sends a running job's progress and checkpoints. `check` and `progress` raise Cancelled after a cancellation."""

    def __init__(self, pipe: Pipe, ticket: int) -> None:
        self.pipe, self.ticket = pipe, ticket

    def check(self) -> None:
        """Raise Cancelled if the worker cancelled the job."""
        self.pipe.check(self.ticket)

    def progress(self, name: Stage, done: int, total: int) -> None:
        """Send the progress of a stage, which restarts the watchdog's deadline. Raises Cancelled."""
        self.check()
        self.pipe.send(Progress(self.ticket, name, done, total))

    def report_checkpoint(self, step: int, path: str) -> None:
        """Report that the file `path` holds the complete state after `step`."""
        self.pipe.send(Checkpointed(self.ticket, step, path))


def _log_cause(error: CreativesError) -> None:
    """Print the library's error and its traceback; only the named error crosses the pipe."""
    if isinstance(error, StageFailed):
        traceback.print_exception(error, file=sys.stderr)
