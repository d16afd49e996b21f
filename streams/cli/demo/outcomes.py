"""The demo: embedded services, a real worker process, three events in, and what came of them in a folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from schemas.events import CreativeReady, Image, ProductReady, ProductRegistered, SegmentUpdated
from streams.cli.embedded_services import environment
from streams.cli.event_file import Letter
from streams.cli.producer import send
from streams.cli.progress import StageBars
from streams.cli.watcher import Seen, Watcher, watcher
from streams.failures import StreamError
from streams.kafka.topics import dead_letter_topic
from streams.settings import DEFAULT_WEB_PORT, Settings

LOOK = 0.2  # seconds between two looks at the worker
PATIENCE = 30.0  # seconds for the worker to finish after SIGTERM, before it is killed
LAST_LINES = 15
SCHOOL = "products: "  # before the stages of the worker's second device process
WORKER = (sys.executable, "-m", "streams.cli", "worker")


class DemoFailed(StreamError):
    """{reason}"""


@dataclass(frozen=True)
class Kept:
    """One picture of an outcome, fetched from its URL and checked."""

    image: Image
    content: bytes


@dataclass(frozen=True)
class Published:
    """What came of one event. value: the message exactly as it stands in its topic."""

    value: bytes
    pictures: tuple[Kept, ...]


@dataclass(frozen=True)
class Outcome(Published):
    """What came of one segment."""

    segment: SegmentUpdated
    ready: CreativeReady


@dataclass(frozen=True)
class Taught(Published):
    """What came of one product; its pictures are samples."""

    product: ProductRegistered
    ready: ProductReady


@dataclass(frozen=True)
class Worker:
    """A running worker process, the address of its pages, and the file its words go to."""

    process: asyncio.subprocess.Process
    page: str
    log: Path


@asynccontextmanager
async def worker(settings: Settings, log: Path) -> AsyncIterator[Worker]:
    """Start `creatives worker` as a process of its own, so that what is shown is what is run; end it after."""
    port = free_port(DEFAULT_WEB_PORT if settings.web.port is None else settings.web.port)
    variables = environment(settings) | {"CREATIVES_WEB__PORT": str(port), "CREATIVES_WEB__HOST": "127.0.0.1"}
    if settings.storage.public_base is not None:
        variables["CREATIVES_STORAGE__PUBLIC_BASE"] = settings.storage.public_base
    with log.open("wb") as words:
        process = await asyncio.create_subprocess_exec(
            *WORKER,
            env=os.environ | variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=words,
            stderr=words,
        )
    try:
        yield Worker(process, f"http://127.0.0.1:{port}", log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()


def free_port(wanted: int) -> int:
    """Return `wanted` if it can be had on loopback, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed(reason="there is no free port on 127.0.0.1.")


async def outcomes(
    letters: Sequence[Letter], settings: Settings, running: Worker, bars: StageBars
) -> list[Outcome | Taught]:
    """Send the events and wait for what the worker makes of them. Raises DemoFailed as soon as one cannot end well."""
    topics = settings.topics
    listened = [topics.creative_ready, topics.product_ready, topics.creative_rejected]
    listened += [dead_letter_topic(topics, name) for name in (topics.segment_updated, topics.product_registered)]
    async with watcher(listened, settings, beginning=False) as watching:
        await send(letters, settings)
        collecting = asyncio.create_task(_collect(watching, letters, bars))
        following = asyncio.create_task(_follow(running.page, bars))
        dying = asyncio.create_task(running.process.wait())
        try:
            await asyncio.wait({collecting, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                raise DemoFailed(reason=f"The worker ended with exit code {running.process.returncode}.")
            values = collecting.result()
        finally:
            for task in (collecting, following, dying):
                task.cancel()
        await _look(running.page, bars)  # the last stages may have come and gone since the last look
        bars.finish()
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        return [await _outcome(letter, values[letter.event.event_id], client) for letter in letters]


async def _collect(watching: Watcher, letters: Sequence[Letter], bars: StageBars) -> dict[str, bytes]:
    """Return what was published of every event, by event id."""
    wanted = {letter.event.event_id for letter in letters}
    found: dict[str, bytes] = {}
    bars.count("events", 0, len(wanted))
    async for seen in watching.messages():
        fields = seen.fields() or {}
        event_id = fields.get("event_id")
        if event_id not in wanted:
            continue
        if "images" not in fields or seen.value is None:
            raise DemoFailed(reason=f"{event_id} was refused: {_why(seen, fields)}")
        found[str(event_id)] = seen.value
        bars.count("events", len(found), len(wanted))
        if len(found) == len(wanted):
            break
    return found


def _why(seen: Seen, fields: dict[str, Any]) -> str:
    headers = {name: value.decode(errors="replace") for name, value in seen.headers}
    return str(fields.get("reason") or headers.get("dead_message") or seen.topic)


async def _follow(page: str, bars: StageBars) -> None:
    """Show how far each stage is, for ever."""
    while True:
        await _look(page, bars)
        await asyncio.sleep(LOOK)


async def _look(page: str, bars: StageBars) -> None:
    """Show the stages of the running batch, or of the last one, as the worker's own status page has them."""
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        try:
            status = (await client.get(f"{page}/status")).json()
            device, training_device = status["device_process"], status["training_process"] or {}
        except (httpx.HTTPError, ValueError, KeyError):
            device, training_device = {"state": "loading"}, {}  # the pages are not up yet
    _move(device, bars)
    _move(training_device, bars, SCHOOL)


def _move(device: dict[str, Any], bars: StageBars, name: str = "") -> None:
    if device.get("stages"):
        bars.show(device["stages"], name)
    elif device.get("state") == "loading":
        bars.show({"load": (0, 0)}, name)


async def _outcome(letter: Letter, value: bytes, client: httpx.AsyncClient) -> Outcome | Taught:
    if isinstance(letter.event, ProductRegistered):
        learned = ProductReady.model_validate_json(value)
        return Taught(value, await _pictures(learned.images, client), letter.event, learned)
    ready = CreativeReady.model_validate_json(value)
    return Outcome(value, await _pictures(ready.images, client), letter.event, ready)


async def _pictures(images: Sequence[Image], client: httpx.AsyncClient) -> tuple[Kept, ...]:
    return tuple([Kept(image, await _fetched(image, client)) for image in images])


async def _fetched(image: Image, client: httpx.AsyncClient) -> bytes:
    """Return the picture as anybody would fetch it, and as the event says it is."""
    try:
        content = (await client.get(image.url)).raise_for_status().content
    except httpx.HTTPError as error:
        reason = str(error).splitlines()[0]  # what follows is a link to a lesson on HTTP
        raise DemoFailed(reason=f"A picture cannot be fetched: {reason}") from None
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise DemoFailed(reason=f"{image.url} has other bytes than its event says.")
    return content


def last_lines(log: Path) -> str:
    """Return the worker's last words."""
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-LAST_LINES:])


def jsonl(found: Sequence[Published]) -> bytes:
    """Return the events exactly as they were published, one a line."""
    assert all(b"\n" not in outcome.value and json.loads(outcome.value) for outcome in found)
    return b"".join(outcome.value + b"\n" for outcome in found)
