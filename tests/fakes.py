"""Fakes: second implementations of the Protocols that keep the same contracts as the real ones."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from models.briefs import (
    Brief,
    Candidate,
    Picture,
    Rendering,
    Stage,
    StudioPlan,
    StudioReady,
    StudioRecipe,
    TrainingJob,
    TrainingResult,
    WeightsUsed,
)
from models.connection import Connection
from models.errors import Cancelled, NothingPassed, OutOfDeviceMemory, StageFailed, WeightsNotFound
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Stop, Train
from models.wire_format import PREFIX
from streams.device.jobs import OnCheckpoint
from streams.failures import ObjectTooLarge, StoreUnavailable

TINY_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fccfc0500f0004850180"
    "84a98c210000000049454e44ae426082"
)


P = ParamSpec("P")
T = TypeVar("T")


def run_at_call(method: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Return a method that runs when it is called, like those of a real store; awaiting it returns or raises."""

    @wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> Awaitable[T]:
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            result.set_result(method(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - the awaiting caller gets it
            result.set_exception(error)
        return result

    return call


class MemoryStore:
    """An ObjectStore in a dict. It calls `fail(operation, key)` before each operation, which may raise."""

    def __init__(self, bucket: str = "creatives") -> None:
        self.objects: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.dates: dict[str, datetime] = {}
        self.fail: Callable[[str, str], None] = lambda operation, key: None
        self._bucket = bucket

    def _enter(self, operation: str, key: str) -> None:
        self.calls.append((operation, key))
        self.fail(operation, key)

    @run_at_call
    def put(self, key: str, content: bytes, media_type: str) -> None:
        self._enter("put", key)
        self.objects[key], self.media_types[key] = bytes(content), media_type

    @run_at_call
    def put_if_absent(self, key: str, content: bytes, media_type: str) -> bool:
        self._enter("put_if_absent", key)
        if key in self.objects:
            return False
        self.objects[key], self.media_types[key] = bytes(content), media_type
        return True

    @run_at_call
    def put_if_match(self, key: str, content: bytes, media_type: str, etag: str) -> bool:
        self._enter("put_if_match", key)
        if self._etag(key) != etag:
            return False
        self.objects[key], self.media_types[key] = bytes(content), media_type
        return True

    @run_at_call
    def etag(self, key: str) -> str | None:
        self._enter("etag", key)
        return self._etag(key)

    def _etag(self, key: str) -> str | None:
        return hashlib.sha256(self.objects[key]).hexdigest() if key in self.objects else None

    @run_at_call
    def get(self, key: str, limit: int | None = None) -> bytes | None:
        self._enter("get", key)
        content = self.objects.get(key)
        if content is not None and limit is not None and len(content) > limit:
            raise ObjectTooLarge(uri=self.uri(key), limit=limit)
        return content

    @run_at_call
    def upload(self, key: str, path: Path, media_type: str) -> None:
        self._enter("put", key)
        self.objects[key], self.media_types[key] = path.read_bytes(), media_type

    @run_at_call
    def download(self, key: str, write: Callable[[bytes], object], limit: int | None = None) -> bool:
        self._enter("get", key)
        content = self.objects.get(key)
        if content is not None and limit is not None and len(content) > limit:
            raise ObjectTooLarge(uri=self.uri(key), limit=limit)
        if content is not None:
            write(content)
        return content is not None

    @run_at_call
    def list(self, prefix: str, before: datetime | None = None) -> list[str]:
        self._enter("list", prefix)
        found = sorted(key for key in self.objects if key.startswith(prefix))
        return [key for key in found if before is None or self.written_at(key) < before]

    @run_at_call
    def delete(self, key: str) -> None:
        self._enter("delete", key)
        self.objects.pop(key, None)

    def written_at(self, key: str) -> datetime:
        """Return the date of an object: the one in `dates`, or that of the first question."""
        return self.dates.setdefault(key, datetime.now(UTC))

    async def check(self) -> None:
        self._enter("check", "")

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def link(self, key: str) -> tuple[str, datetime | None]:
        return f"https://memory.example/{self._bucket}/{key}", None


def unavailable(operation: str, key: str) -> None:
    """A `fail` of MemoryStore: the store cannot be reached."""
    raise StoreUnavailable(endpoint="memory", detail=f"{operation} of {key or 'nothing'}")


def small_disk(folder: Path, size: int, monkeypatch: Any) -> None:
    """Let `models.local_files` find no more than `size` bytes of room in the folder and those below it."""
    write = os.write

    def write_if_room(file: int, content: bytes) -> int:
        free = size - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if free <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[:free])

    monkeypatch.setattr("models.local_files.os.write", write_if_room)


RECIPE = StudioRecipe(
    fingerprint="0" * 64,
    models=(WeightsUsed("diffusion", "fake", "1", "Apache-2.0"),),
    settings={"steps": 1},
)


def recipe(revision: str) -> StudioRecipe:
    """Return the fake studio's recipe with another revision of the diffusion weights; `1` gives RECIPE itself."""
    if revision == "1":
        return RECIPE
    model = replace(RECIPE.models[0], revision=revision)
    return replace(RECIPE, models=(model,), fingerprint=hashlib.sha256(revision.encode()).hexdigest())


def ready(tokenizer: str = "", recipe: StudioRecipe = RECIPE) -> StudioReady:
    """Return the message that the fake studio sends when it is loaded."""
    return StudioReady(recipe, "cpu", tokenizer, 77, "blurry")


def rendering(brief: Brief) -> Rendering:
    """Return pictures whose bytes depend on the brief alone; the last candidates rank first."""
    candidates: list[Candidate] = []
    pictures: list[Picture] = []
    for shape in brief.formats:
        order = list(reversed(range(len(brief.seeds))))
        for index in order:
            place = order.index(index)
            rank = place + 1 if place < brief.keep else None
            scores = {"clip": round(0.2 + 0.001 * index, 6)}
            seed = brief.seeds[index]
            candidates.append(Candidate(shape, index, seed, scores, rank))
            if rank is not None:
                content = TINY_PNG + hashlib.sha256(f"{brief.prompt}|{shape}|{seed}".encode()).digest()
                pictures.append(Picture(rank, shape, seed, 1, 1, "image/png", content, scores))
    return Rendering(brief.request_id, tuple(pictures), tuple(candidates), 0.001, {"generate": 0.001})


def serve(connection: Connection, plan: StudioPlan) -> None:
    """A device process without torch, for DeviceClient. Words in plan.diffusion and in prompts control it.

    plan.diffusion: `fake`, or words separated by commas. At the start: `missing` (sends WeightsNotFound),
    `missing_once=PATH` (does so if PATH does not exist, and creates it), `dies`, `silent`, `not_ready` (sends other
    messages first). Later: `slow=0.2` (seconds per brief), `once=PATH` (crash, exit and hang act only if PATH does not
    exist, and create it), `log=PATH` (appends the prompts of each batch as a line, separated by `|`).
    Prompt: `crash` (SIGKILL, as the kernel sends if memory runs out), `exit`, `hang`, `ticks` (slow, with progress),
    `full` (out of device memory unless the file of `free=PATH` exists; with `crowded`, another process holds it),
    `stages` (progress of every stage at once), `reject`, `fail`, `unreadable`, `big` (a 20 MB picture), `forget` (no
    answer).
    """
    words = dict((word + "=").split("=")[:2] for word in plan.diffusion.split(","))
    seen = Path(words.get("missing_once", "."))
    if "missing" in words or not seen.exists():
        seen.touch()
        connection.send(WeightsNotFound(role="diffusion", reference=plan.diffusion, hint="put it there"))
        return
    if "dies" in words:
        os._exit(3)
    if "silent" in words:
        time.sleep(600)
    if "not_ready" in words:
        connection.send(Progress(0, "load", 1, 2))
        connection.send(Answer(1, "nobody", None))
    connection.send(Progress(0, "load", 1, 1))
    connection.send(ready(words.get("tokenizer", "")))
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if isinstance(message, Stop):
            return
        if isinstance(message, Render):
            if "log" in words:
                with Path(words["log"]).open("a") as log:
                    log.write("|".join(brief.prompt for brief in message.briefs) + "\n")
            for brief in message.briefs:
                _render(connection, message.ticket, brief, words)
        if isinstance(message, Train):
            _train(connection, message.ticket, message.training_job, words)


def _render(connection: Connection, ticket: int, brief: Brief, words: dict[str, str]) -> None:
    connection.send(Progress(ticket, "generate", 0, 2))
    time.sleep(float(words.get("slow") or 0))
    result: Any = rendering(brief)
    error: Exception | None = None
    if "once" not in words or not Path(words["once"]).exists():
        if any(word in brief.prompt for word in ("crash", "exit", "hang")) and "once" in words:
            Path(words["once"]).touch()
        if "crash" in brief.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "exit" in brief.prompt:
            sys.stderr.flush()
            os._exit(7)
        if "hang" in brief.prompt:
            time.sleep(600)
    if "ticks" in brief.prompt:
        for done in range(6):
            time.sleep(0.1)
            connection.send(Progress(ticket, "generate", done, 6))
    if "stages" in brief.prompt:
        stages: tuple[Stage, ...] = ("generate", "rerank", "upscale", "encode")
        for stage in stages:
            connection.send(Progress(ticket, stage, 2, 2))
    if "reject" in brief.prompt:
        result, error = None, NothingPassed(detail="all candidates are blank")
    if "fail" in brief.prompt:
        result, error = None, StageFailed(stage="upscale", kind="RuntimeError", detail="no")
    if "big" in brief.prompt:
        picture = Picture(1, "square", 1, 1, 1, "image/png", bytes(20_000_000), {})
        result = Rendering(brief.request_id, (picture,), (), 0.1)
    if "full" in brief.prompt and not Path(words.get("free") or "/nowhere").exists():
        full = OutOfDeviceMemory(stage="generate", detail="CUDA out of memory")
        connection.send(Answer(ticket, brief.request_id, None, full, crowded="crowded" in brief.prompt))
        return
    if "unreadable" in brief.prompt:
        connection._socket.sendall(PREFIX.pack(20, 0) + b"cnothing\nlike_this\n.")
        return
    if "forget" in brief.prompt:
        return
    connection.send(Answer(ticket, brief.request_id, result, error))


def _train(connection: Connection, ticket: int, training_job: TrainingJob, words: dict[str, str]) -> None:
    """Train for `steps` steps of 20 ms with a checkpoint each; resume from the newest checkpoint in the workdir."""
    workdir = Path(training_job.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    first = max((int(path.stem.split("-")[1]) for path in workdir.glob("checkpoint-*.bin")), default=0)
    steps = training_job.steps or 5
    for step in range(first + 1, steps + 1):
        time.sleep(0.02)
        if connection.poll() and isinstance(connection.recv(), Cancel):
            connection.send(Answer(ticket, training_job.request_id, None, Cancelled()))
            return
        path = workdir / f"checkpoint-{step}.bin"
        path.write_bytes(f"{training_job.product_id} at {step}".encode())
        connection.send(Progress(ticket, "train", step, steps))
        connection.send(Checkpointed(ticket, step, str(path)))
        if "crash" in training_job.class_noun and step == 3 and first == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    concept = workdir / "concept.safetensors"
    concept.write_bytes(f"{training_job.product_id} trained for {steps} steps, from {first}".encode())
    sample = Picture(1, "square", training_job.seed, 1, 1, "image/png", TINY_PNG, {"fidelity": 0.9})
    connection.send(
        Answer(
            ticket,
            training_job.request_id,
            TrainingResult(
                request_id=training_job.request_id,
                path=str(concept),
                sha256=hashlib.sha256(concept.read_bytes()).hexdigest(),
                steps=steps,
                scores={"fidelity": 0.9},
                pictures=(sample,),
                device_seconds=0.1,
            ),
        )
    )


class FakeDevice:
    """A Device in this process that answers at once. It records its briefs and training jobs, and raises `error` if set."""

    def __init__(self, tokenizer: str = "", recipe: StudioRecipe = RECIPE) -> None:
        self.briefs: list[Brief] = []
        self.training_jobs: list[TrainingJob] = []
        self.error: Exception | None = None
        self.scores = {"fidelity": 0.9}
        self._ready = ready(tokenizer, recipe)

    @property
    def ready(self) -> StudioReady:
        return self._ready

    async def render(self, brief: Brief) -> Rendering:
        self.briefs.append(brief)
        if self.error is not None:
            raise self.error
        return rendering(brief)

    async def train(self, training_job: TrainingJob, on_checkpoint: OnCheckpoint) -> TrainingResult:
        self.training_jobs.append(training_job)
        if self.error is not None:
            raise self.error
        workdir = Path(training_job.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        for step in (1, 2):
            path = workdir / f"checkpoint-{step}.bin"
            path.write_bytes(f"{training_job.product_id} at {step}".encode())
            await on_checkpoint(step, path)
        concept = workdir / "concept.safetensors"
        concept.write_bytes(f"{training_job.product_id} {training_job.request_id}".encode())
        digest = hashlib.sha256(concept.read_bytes()).hexdigest()
        sample = Picture(1, "square", training_job.seed, 1, 1, "image/png", TINY_PNG, {"fidelity": 0.9})
        return TrainingResult(training_job.request_id, str(concept), digest, 2, self.scores, (sample,), 0.1)


def save_word_tokenizer(folder: Path) -> str:
    """Write a tokenizer.json in which every word is one token; return its path."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE({"?": 0}, [], unk_token="?", fuse_unk=True, end_of_word_suffix="</w>"))
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)
