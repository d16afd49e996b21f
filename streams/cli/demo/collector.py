"""Send the demo's events and collect their results, with the worker's stages as progress bars."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from streams.cli.demo.errors import DemoFailed
from streams.cli.demo.results import Result, fetch_result
from streams.cli.demo.worker_process import WorkerProcess
from streams.cli.event_file import ValidEvent
from streams.cli.event_sender import send_events
from streams.cli.progress import StageBars
from streams.cli.topic_reader import TopicMessage, TopicReader, topic_reader
from streams.kafka.topics import dead_letter_topic
from streams.printable import printable
from streams.settings import Settings

UPDATE_SECONDS = 0.2  # between two requests for the worker's status
TRAINING_PREFIX = "products: "  # before the stages of the training process


async def collect_results(
    events: Sequence[ValidEvent], settings: Settings, worker: WorkerProcess, bars: StageBars
) -> list[Result]:
    """Send the events and return their results in the same order.

    Raises DemoFailed as soon as an event is rejected or dead-lettered, or the worker exits.
    """
    topics = settings.topics
    outcomes = [topics.creative_ready, topics.product_ready, topics.creative_rejected]
    dead_letters = [dead_letter_topic(topics, name) for name in (topics.segment_updated, topics.product_registered)]
    async with topic_reader(outcomes + dead_letters, settings) as reader, _status_client(worker) as pages:
        await send_events(events, settings)
        collecting = asyncio.create_task(_collect_outcomes(reader, events, bars))
        updating = asyncio.create_task(_update_bars(pages, bars))
        exited = asyncio.create_task(worker.process.wait())
        try:
            await asyncio.wait({collecting, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                raise worker.exit_error()
            values = collecting.result()
        finally:
            for task in (collecting, updating, exited):
                task.cancel()
        await _show_status(pages, bars)  # the last stages may have begun and ended since the last update
        bars.finish()
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        return [await fetch_result(event, values[event.content.event_id], client) for event in events]


async def _collect_outcomes(reader: TopicReader, events: Sequence[ValidEvent], bars: StageBars) -> dict[str, bytes]:
    """Return the outcome of every event, by event id. Raises DemoFailed for an outcome without pictures."""
    expected = {event.content.event_id for event in events}
    values: dict[str, bytes] = {}
    bars.show_count("events", 0, len(expected))
    async for message in reader.messages():
        fields = message.fields() or {}
        event_id = fields.get("event_id")
        if event_id not in expected:
            continue
        if "images" not in fields or message.value is None:
            raise DemoFailed(reason=f"The event {event_id} failed: {_failure_reason(message, fields)}")
        values[str(event_id)] = message.value
        bars.show_count("events", len(values), len(expected))
        if len(values) == len(expected):
            break
    return values


def _failure_reason(message: TopicMessage, fields: dict[str, Any]) -> str:
    headers = {name: value.decode(errors="replace") for name, value in message.headers}
    return printable(str(fields.get("reason") or headers.get("dead_message") or message.topic))


def _status_client(worker: WorkerProcess) -> httpx.AsyncClient:
    """Return a client of the worker's pages. One serves all requests: it takes 50 ms to make."""
    return httpx.AsyncClient(base_url=worker.url, headers=worker.headers, trust_env=False, timeout=5.0)


async def _update_bars(pages: httpx.AsyncClient, bars: StageBars) -> None:
    while True:
        await _show_status(pages, bars)
        await asyncio.sleep(UPDATE_SECONDS)


async def _show_status(pages: httpx.AsyncClient, bars: StageBars) -> None:
    """Show the stages of the running batch, or of the last one, from the worker's status page."""
    try:
        status = (await pages.get("/status")).json()
        device, training = status["device_process"], status["training_process"] or {}
    except (httpx.HTTPError, ValueError, KeyError):
        device, training = {"state": "loading"}, {}  # the worker does not serve its pages yet
    bars.show_process(device.get("state", ""), device.get("stages", {}))
    bars.show_process(training.get("state", ""), training.get("stages", {}), TRAINING_PREFIX)
