"""The Faust agents. Each passes raw messages on; it never decodes, waits for a result, acks or fails."""

from __future__ import annotations

import faust
from faust.types import StreamT

from streams.kafka.delivery import Attempt
from streams.kafka.in_flight import InFlightEvents


def install(app: faust.App, topic: str, attempt: Attempt, in_flight: InFlightEvents) -> None:
    """Add an agent to `app` that passes every message of `topic` to `in_flight`.

    With noack() and raw bytes Faust neither acks nor decodes: it would ack an event that fails, and skip one that it
    cannot decode (docs/decisions/0001).
    """

    async def consume(stream: StreamT[bytes]) -> None:
        async for event in stream.noack().events():
            await in_flight.accept(event, attempt)

    channel = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(channel, name=f"consume-{topic}")(consume)
