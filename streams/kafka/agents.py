"""Faust agents: each hands raw messages to the in-flight events. An agent never fails, waits or acks by itself."""

from __future__ import annotations

import faust
from faust.types import StreamT

from streams.kafka.delivery import Attempt
from streams.kafka.in_flight import InFlightEvents


def install(app: faust.App, topic: str, attempt: Attempt, in_flight: InFlightEvents) -> None:
    """Let an agent of `app` take every message of `topic` to the desk.

    noack() and raw bytes: Faust neither acks nor decodes; a stream of its own would do both wrong (docs/decisions).
    """

    async def take(stream: StreamT[bytes]) -> None:
        async for event in stream.noack().events():
            await in_flight.take(event, attempt)

    channel = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(channel, name=f"take-{topic}")(take)
