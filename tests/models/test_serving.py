"""The device process: in this process with fakes, and once as a real process with tiny networks."""

import contextlib
import dataclasses
import os
import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models import serving, wire_format
from models.briefs import Brief, Concept, StudioPlan, StudioReady, StudioRecipe, TrainingJob, TrainingResult
from models.connection import Connection
from models.errors import Cancelled, OutOfDeviceMemory, StageFailed, WeightsNotFound
from models.isolation import refused_rights
from models.networks import Networks
from models.studio import Studio
from models.wire import Answer, Cancel, Progress, Render, Stop, Train
from models.wire_format import FROM_DEVICE
from streams.device.child import start_child
from tests.models.fakes import FakeEncoder, FakeGenerator, FakeReranker, FakeUpscaler, connected

TRAINED = TrainingResult("request-1", "/nowhere/concept.safetensors", "0" * 64, 2, {}, (), 0.1)


def brief(number, seeds=(1, 2)):
    return Brief(f"request-{number}", "coffee", "", seeds, 1)


@pytest.fixture
def generator(monkeypatch, tmp_path):
    """Open a fake studio instead of a real one; return its generator, so that a test can make it fail."""
    generator = FakeGenerator()
    (tmp_path / "vocab.json").write_text("{}")
    generator.pipeline = SimpleNamespace(tokenizer=SimpleNamespace(name_or_path=str(tmp_path), model_max_length=77))
    networks = Networks(generator, FakeReranker(), FakeUpscaler(), FakeEncoder(), "blurry", vocabulary={"dog": ["pet"]})
    studio = Studio(StudioPlan(), StudioRecipe("f" * 64, (), {}), networks, torch.device("cpu"))
    monkeypatch.setattr(serving, "open_studio", lambda plan, on_fetched: studio)
    return generator


@pytest.fixture
def pipe(monkeypatch):
    ours, theirs = connected()
    yield ours, theirs
    ours.close()
    theirs.close()


def serve_messages(pipe, *messages):
    """Serve these messages, then Stop; return the messages sent."""
    ours, theirs = pipe
    for message in (*messages, Stop()):
        ours.send(message)
    serving.serve(theirs, StudioPlan())
    stop_reading(theirs)
    return list(iter_messages(ours))


def stop_reading(connection):
    """Close the device process's end after its thread has read Stop; before, the close would end this process."""
    for thread in threading.enumerate():
        if thread.name == "read":
            thread.join(10)
    connection.close()


def iter_messages(connection):
    try:
        while True:
            yield connection.recv()
    except EOFError:
        return


def answers(messages):
    return [message for message in messages if isinstance(message, Answer)]


def test_ready_comes_first_then_progress_and_one_answer_per_brief(pipe, generator, tmp_path):
    ready, *rest = serve_messages(pipe, Render(7, (brief(1), brief(2))), Render(8, (brief(3),)))
    assert ready == StudioReady(StudioRecipe("f" * 64, (), {}), "cpu", str(tmp_path), 77, "blurry", {"dog": ("pet",)})
    assert [(a.ticket, a.request_id, a.error) for a in answers(rest)] == [
        (7, "request-1", None),
        (7, "request-2", None),
        (8, "request-3", None),
    ]
    assert all(len(a.result.pictures) == 1 for a in answers(rest))
    stages = [message.stage for message in rest if isinstance(message, Progress) and message.ticket == 8]
    assert set(stages) == {"generate", "rerank", "upscale", "encode"}


def test_a_failure_answers_its_brief_and_the_next_is_served(pipe, generator, capsys):
    failures = iter([ValueError("broken kernel"), None, None])

    def fail():
        if error := next(failures):
            raise error

    generator.fail = fail
    first, second = answers(serve_messages(pipe, Render(1, (brief(1, (1,)), brief(2, (1,))))))
    assert isinstance(first.error, StageFailed)
    assert (
        str(first.error)
        == "The generate stage failed with ValueError: broken kernel. The worker's log has the traceback."
    )
    assert second.error is None
    assert "ValueError: broken kernel" in capsys.readouterr().err


def test_a_lost_device_ends_the_process_unanswered(pipe, generator):
    def fail():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    generator.fail = fail
    ours, theirs = pipe
    ours.send(Render(1, (brief(1, (1,)),)))
    ours.send(Stop())
    with pytest.raises(SystemExit, match="The device is lost in generate"):
        serving.serve(theirs, StudioPlan())
    stop_reading(theirs)
    assert answers(iter_messages(ours)) == []


def test_a_cancelled_job_ends_at_the_next_step(pipe, generator):
    generator.fail = lambda: cancelled.wait(5)
    cancelled = threading.Event()
    reading = serving.Pipe._read

    def read_and_signal(self):
        self._cancelled = SignallingSet(cancelled)
        reading(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.Pipe, "_read", read_and_signal)
        found = answers(serve_messages(pipe, Render(1, (brief(1), brief(2))), Cancel(1), Render(2, (brief(3),))))
    assert [(a.request_id, type(a.error)) for a in found] == [
        ("request-1", Cancelled),
        ("request-2", Cancelled),
        ("request-3", type(None)),
    ]


class SignallingSet(set):
    def __init__(self, event):
        super().__init__()
        self.event = event

    def add(self, value):
        super().add(value)
        self.event.set()


def test_briefs_of_one_concept_follow_each_other(pipe, generator, monkeypatch):
    jam, tea = (Concept(name, "dreambooth", "/nowhere", name, "sks", f"jar of {name}") for name in ("jam", "tea"))
    monkeypatch.setattr(Studio, "apply_concept", lambda self, brief, progress: contextlib.nullcontext(brief.prompt))
    wanted = [jam, tea, None, jam, None, tea]
    briefs = tuple(dataclasses.replace(brief(n), concept=concept) for n, concept in enumerate(wanted))
    found = answers(serve_messages(pipe, Render(1, briefs)))
    assert [answer.request_id for answer in found] == [f"request-{n}" for n in (0, 3, 1, 5, 2, 4)]


def test_a_training_jobs_concept_leaves_the_shelf_however_the_job_ends(pipe, generator, monkeypatch):
    from models.learning import training_job

    held = []

    def train(studio, given, report):
        studio.shelf._shelf[(given.product_id, "f" * 64),] = object()
        held.append((studio.shelf, len(studio.shelf)))
        if given.seed:
            raise Cancelled
        return TRAINED

    monkeypatch.setattr(training_job, "run_training_job", train)
    job = TrainingJob("request-1", "jam", "jar", "sks", "dreambooth", (), 1, "/nowhere")
    serve_messages(pipe, Train(1, job), Train(2, dataclasses.replace(job, seed=0)))
    assert [count for _, count in held] == [1, 1]
    assert len(held[0][0]) == 0


def test_training_jobs_run_in_their_own_module(pipe, generator, monkeypatch):
    from models.learning import training_job

    job = TrainingJob("request-1", "jam", "jar", "sks", "dreambooth", (), 1, "/nowhere")

    def train(studio, given, report):
        report.progress("train", 1, 2)
        report.report_checkpoint(1, "/nowhere/1")
        if given.seed:
            raise OSError("disk full")
        return TRAINED

    monkeypatch.setattr(training_job, "run_training_job", train)
    _, *rest = serve_messages(pipe, Train(1, job), Train(2, dataclasses.replace(job, seed=0)))
    assert [type(message).__name__ for message in rest] == ["Progress", "Checkpointed", "Answer"] * 2
    failed, done = answers(rest)
    assert str(failed.error) == "The train stage failed with OSError: disk full. The worker's log has the traceback."
    assert done.result == TRAINED


def test_a_studio_that_cannot_open_sends_its_named_error(pipe):
    ours, theirs = pipe
    ours.send(Stop())  # ends the reading thread, which would otherwise end this process when the pipe closes
    serving.serve(theirs, StudioPlan(diffusion="/nowhere/at/all"))
    stop_reading(theirs)
    assert isinstance(ours.recv(), WeightsNotFound)


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({}, True),
        ({"network": True}, False),
        ({"dino": "owner/dino@1"}, False),
        ({"dino": "/"}, True),
        ({"dino": "local-dir:/"}, True),
    ],
)
def test_the_network_is_dropped_unless_a_hub_id_or_the_operator_needs_it(monkeypatch, changes, dropped):
    drops = []
    monkeypatch.setattr(serving, "drop_network", lambda: drops.append(True))
    serving._on_fetched(StudioPlan(**changes))
    assert bool(drops) is dropped


def test_a_result_above_the_size_limit_is_a_failed_stage(pipe, generator, monkeypatch):
    monkeypatch.setattr(wire_format, "BLOBS_LIMIT", 10)
    [answer] = answers(serve_messages(pipe, Render(1, (brief(1),))))
    assert isinstance(answer.error, StageFailed)
    assert "exceed the limit" in str(answer.error)


def test_a_training_job_gives_its_memory_back(pipe, generator, monkeypatch):
    from models.learning import training_job

    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    monkeypatch.setattr(training_job, "run_training_job", lambda studio, given, report: TRAINED)
    serve_messages(pipe, Train(1, TrainingJob("request-1", "jam", "jar", "sks", "dreambooth", (), 1, "/nowhere")))
    assert emptied == [True]


@pytest.mark.parametrize(("growth", "crowded"), [(0, False), (2**30, True)])
def test_an_answer_shows_whether_others_took_the_memory(pipe, generator, monkeypatch, growth, crowded):
    figures = iter([2**30, 2**30 + growth])
    monkeypatch.setattr(serving, "memory_of_others", lambda device: next(figures))

    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")

    generator.fail = fail
    [answer] = answers(serve_messages(pipe, Render(1, (brief(1),))))
    assert (type(answer.error), answer.crowded) == (OutOfDeviceMemory, crowded)


def test_a_real_process_ignores_signals_has_no_network_and_ends_with_its_parent(tiny_plan):
    end, child_end = socket.socketpair()
    process = start_child("models.serving:serve", child_end)
    child_end.close()
    ours = Connection(end, FROM_DEVICE)
    try:
        ours.send(tiny_plan)
        assert ours.poll(240)
        ready = ours.recv()
        assert isinstance(ready, StudioReady)
        assert Path(ready.tokenizer).exists()
        assert refused_rights(process.pid) == ("network", "new_privileges")
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process.pid, number)
        ours.send(Render(1, (brief(1), brief(2))))
        found = []
        while len(found) < 2:
            assert ours.poll(60)
            found += answers([ours.recv()])
        assert [answer.error for answer in found] == [None, None]
        ours.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
