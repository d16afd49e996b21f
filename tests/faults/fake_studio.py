"""A device process without a device. Its pictures depend on the brief and its concept alone.

FAKE_DELAY: seconds per batch (0.02). FAKE_SLOW: seconds for a prompt, or a training job's class noun, with the word
`slowly` (10). Words in a prompt inject faults: `fatally` (segfault), `hanging` (no answer), `raising` (a stage fails),
`shapeless` (a rendering without pictures), `unsendable` (a result of another type). Beside the word `once` they act
only for the first time; marks in FAULT_FOLDER record that.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import time
import zlib
from pathlib import Path

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
)
from models.connection import Connection
from models.errors import StageFailed, WeightsNotFound
from models.wire import Answer, Checkpointed, Progress, Render, Stop, Train

DELAY = float(os.environ.get("FAKE_DELAY", "0.02"))
SLOW = float(os.environ.get("FAKE_SLOW", "10"))
FOLDER = Path(os.environ.get("FAULT_FOLDER", tempfile.gettempdir()))
STAGES: tuple[Stage, ...] = ("generate", "rerank", "upscale", "encode")
RECIPE = StudioRecipe(fingerprint=hashlib.sha256(b"the fake studio").hexdigest(), models=(), settings={"steps": 1})


def serve(connection: Connection, plan: StudioPlan) -> None:
    """Answer jobs until the worker exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(StudioReady(RECIPE, "fake", tokenizer(), 77, "blurry"))
    try:
        while not isinstance(job := connection.recv(), Stop):
            if isinstance(job, Render):
                render(connection, job)
            elif isinstance(job, Train):
                train(connection, job)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)


def render(connection: Connection, job: Render) -> None:
    inject_fault()
    until = time.monotonic() + (SLOW if any(is_requested(brief, "slowly") for brief in job.briefs) else DELAY)
    while (left := until - time.monotonic()) > 0:
        connection.send(Progress(job.ticket, "generate", 0, 1))
        time.sleep(min(left, 0.5))
    for stage in STAGES if DELAY else ():  # without a delay there are no stages to report
        connection.send(Progress(job.ticket, stage, 1, 1))
    for brief in job.briefs:
        connection.send(answer(job.ticket, brief))


def train(connection: Connection, job: Train) -> None:
    """Finish at once. With `slowly` in the class noun: take FAKE_SLOW seconds and send progress.

    With `checkpoints`: finish while the worker uploads a checkpoint.
    """
    until = time.monotonic() + (SLOW if "slowly" in job.training_job.class_noun.split() else 0)
    while (left := until - time.monotonic()) > 0:
        connection.send(Progress(job.ticket, "train", 0, 1))
        time.sleep(min(left, 0.1))
    result = training_result(job.training_job)
    if "checkpoints" in job.training_job.class_noun.split():
        path = Path(job.training_job.workdir) / "checkpoint-000001.safetensors"
        path.write_bytes(bytes(2 * 2**20))  # 32 chunks of a fault proxy: more than all other requests of the job
        connection.send(Checkpointed(job.ticket, 1, str(path)))
        time.sleep(0.3)  # the upload has started; it takes longer
    connection.send(Answer(job.ticket, job.training_job.request_id, result))


def answer(ticket: int, brief: Brief) -> Answer:
    if is_requested(brief, "fatally"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if is_requested(brief, "hanging"):
        time.sleep(1e6)
    if brief.concept is not None and not Path(brief.concept.path).exists():
        missing = WeightsNotFound(role="concept", reference=brief.concept.path, hint="there is no such file.")
        return Answer(ticket, brief.request_id, None, missing)
    if is_requested(brief, "raising"):
        return Answer(ticket, brief.request_id, None, StageFailed(stage="rerank", kind="ValueError", detail="injected"))
    if is_requested(brief, "unsendable"):
        return Answer(ticket, brief.request_id, (n for n in range(3)))  # no message holds a generator
    return Answer(ticket, brief.request_id, rendering(brief, empty=is_requested(brief, "shapeless")))


def is_requested(brief: Brief, word: str) -> bool:
    """Return whether the prompt contains the word; beside `once`, only for the first time."""
    words = brief.prompt.replace(",", " ").split()
    if word not in words:
        return False
    if "once" not in words:
        return True
    try:
        (FOLDER / f"{word}-{brief.request_id}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def rendering(brief: Brief, *, empty: bool = False) -> Rendering:
    """Return small real PNGs that depend on the prompt, the seeds and the file of the concept, if there is one."""
    words = brief.prompt
    if brief.concept is not None:
        words += hashlib.sha256(Path(brief.concept.path).read_bytes()).hexdigest()
    ranks = {seed: rank for rank, seed in enumerate(brief.seeds[: brief.keep], 1)}
    candidates = tuple(
        Candidate("square", index, seed, {"clip": score(seed)}, ranks.get(seed))
        for index, seed in enumerate(brief.seeds)
    )
    pictures = tuple(
        Picture(rank, "square", seed, 8, 8, "image/png", png(words, seed), {"clip": score(seed)})
        for seed, rank in ranks.items()
    )
    return Rendering(brief.request_id, () if empty else pictures, candidates, device_seconds=0.001)


def training_result(training_job: TrainingJob) -> TrainingResult:
    """Return a concept whose file names the training job, with one sample."""
    path = Path(training_job.workdir) / "concept.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        f"{training_job.product_id} {training_job.request_id} {training_job.method} {len(training_job.photos)}".encode()
    )
    sample = Picture(
        1,
        "square",
        training_job.seed,
        8,
        8,
        "image/png",
        png(training_job.class_noun, training_job.seed),
        {"clip": 0.5},
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    scores = {"fidelity": 0.5, "fidelity_before": 0.25}
    return TrainingResult(training_job.request_id, str(path), digest, 2, scores, (sample,), 0.001)


def score(seed: int) -> float:
    return round(seed % 997 / 997, 6)


def png(words: str, seed: int) -> bytes:
    """Return an 8x8 RGB PNG whose pixels are a hash of words and seed."""
    rows = bytearray()
    for row in range(8):
        rows += b"\x00" + hashlib.sha256(f"{words}|{seed}|{row}".encode()).digest()[:24]
    header = (8).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def tokenizer() -> str:
    """Return the path of a word tokenizer; the first call writes it."""
    from tokenizers import Tokenizer, models

    path = Path(tempfile.gettempdir()) / f"fake-words-{os.getuid()}.json"
    if not path.exists():
        words = Tokenizer(models.BPE({"?": 0}, [], unk_token="?", fuse_unk=True, end_of_word_suffix="</w>"))
        draft = path.with_suffix(f".{os.getpid()}")
        words.save(str(draft))
        draft.replace(path)
    return str(path)


def inject_fault() -> None:
    """Kill the worker, the parent process, if a fault at `device` is due."""
    from tests.faults import fault_injection

    fault_injection.reach("device")
