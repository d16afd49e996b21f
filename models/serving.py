"""The device process: reads jobs from a pipe, answers each brief as soon as it is done, shows signs of life.

Files of one brief are encoded in a thread while the next brief is on the device; at most one waits there.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from models.briefs import Brief, Stage, StudioPlan, StudioReady
from models.errors import Cancelled, CreativesError, StageFailed
from models.opening import open_studio
from models.rendering.concept_shelf import grouped
from models.studio import Drawn, Studio, stage
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Stop, Train

Job = Render | Train


def serve(connection: Connection, plan: StudioPlan) -> None:
    """Run until Stop or until the parent is gone. Sends StudioReady, or the error that kept the studio from opening."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    pipe = Pipe(connection)
    try:
        with stage("load"):
            studio = open_studio(plan)
            studio.warm()
            ready = ready_of(studio)
    except CreativesError as error:
        _log(error)
        pipe.send(error)
        return
    pipe.send(ready)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode") as encoding:
        worker = Worker(studio, pipe, encoding)
        for job in pipe.jobs():
            worker.work(job)


def ready_of(studio: Studio) -> StudioReady:
    """Return what the worker process needs to know of a studio."""
    tokenizer = studio.generator.pipeline.tokenizer
    folder = Path(tokenizer.name_or_path)
    place = folder if (folder / "vocab.json").is_file() else folder / "tokenizer.json"
    return StudioReady(
        studio.recipe, str(studio.device), str(place), tokenizer.model_max_length, studio.negative_prompt
    )


class Pipe:
    """The connection with one reader thread: jobs wait in a queue, cancellations take effect at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | Stop] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, name="read", daemon=True).start()

    def send(self, message: object) -> None:
        """Send one message; if the worker is gone there is nobody left to work for, and the process ends."""
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
        """Raise Cancelled if the job of this ticket was given up."""
        if ticket in self._cancelled:
            raise Cancelled

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                # The worker is gone, and a kernel on the device cannot be interrupted from here.
                os._exit(0)
            if isinstance(message, Cancel):
                self._cancelled.add(message.ticket)
                continue
            self._jobs.put(message)
            if isinstance(message, Stop):
                return


class Worker:
    """Does one job after the other."""

    def __init__(self, studio: Studio, pipe: Pipe, encoding: ThreadPoolExecutor) -> None:
        self.studio, self.pipe, self.encoding = studio, pipe, encoding
        self.waiting: Future[None] | None = None

    def work(self, job: Job) -> None:
        """Answer every request of the job; briefs of one concept one after the other, so that it is loaded once."""
        if isinstance(job, Train):
            self._learn(job)
        else:
            for brief in grouped(job.briefs):
                self._render(job.ticket, brief)

    def _render(self, ticket: int, brief: Brief) -> None:
        report = Report(self.pipe, ticket)
        try:
            report.check()
            drawn = self.studio.draw(brief, report.progress)
        except CreativesError as error:
            self._answer_error(ticket, brief.request_id, error)
            return
        if self.waiting is not None:
            self.waiting.result()
        self.waiting = self.encoding.submit(self._finish, ticket, drawn)

    def _finish(self, ticket: int, drawn: Drawn) -> None:
        request_id = drawn.brief.request_id
        try:
            rendering = self.studio.finish(drawn, Report(self.pipe, ticket).progress)
        except CreativesError as error:
            self._answer_error(ticket, request_id, error)
        else:
            self.pipe.send(Answer(ticket, request_id, rendering))

    def _learn(self, job: Train) -> None:
        from models.learning import training_job

        report = Report(self.pipe, job.ticket)
        try:
            report.check()
            with stage("train"):
                learned = training_job.run_training_job(self.studio, job.training_job, report)
        except CreativesError as error:
            self._answer_error(job.ticket, job.training_job.request_id, error)
        else:
            self.pipe.send(Answer(job.ticket, job.training_job.request_id, learned))
        finally:
            self.studio.shelf.forget(job.training_job.product_id)

    def _answer_error(self, ticket: int, request_id: str, error: CreativesError) -> None:
        _log(error)
        self.pipe.send(Answer(ticket, request_id, None, error))


class Report:
    """What a running job says: progress and checkpoints. Both end the job with Cancelled once it was given up."""

    def __init__(self, pipe: Pipe, ticket: int) -> None:
        self.pipe, self.ticket = pipe, ticket

    def check(self) -> None:
        """Raise Cancelled if the job was given up."""
        self.pipe.check(self.ticket)

    def progress(self, name: Stage, done: int, total: int) -> None:
        """Tell how far a stage is; the watchdog's deadline starts anew."""
        self.check()
        self.pipe.send(Progress(self.ticket, name, done, total))

    def checkpointed(self, step: int, path: str) -> None:
        """Tell that the state after `step` lies complete in the file `path`."""
        self.pipe.send(Checkpointed(self.ticket, step, path))


def _log(error: CreativesError) -> None:
    """The named error crosses the pipe; what a library raised, and where, is for the log."""
    if isinstance(error, StageFailed):
        traceback.print_exception(error, file=sys.stderr)
