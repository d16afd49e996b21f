"""Send events to their topics and wait until the broker confirms each one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from streams.cli.event_file import ValidEvent
from streams.failures import TopicsMissing
from streams.kafka.brokers import broker_errors, client_options, error_reason
from streams.kafka.publisher import SIZE_LIMIT
from streams.kafka.topics import topic_states
from streams.settings import Settings


@dataclass(frozen=True)
class SendResult:
    """The place of an event in its topic, or the reason why the broker did not confirm it."""

    event: ValidEvent
    partition: int = -1
    offset: int = -1
    error: str | None = None


async def send_events(events: Sequence[ValidEvent], settings: Settings) -> list[SendResult]:
    """Send the events in order and wait for every confirmation.

    Java's partitioner (murmur2 of the key) chooses the partition, so events with equal ids stay in order.
    Raises BrokerUnavailable or TopicsMissing before anything is sent.
    """
    await _check_topics({event.topic for event in events}, settings)
    producer = AIOKafkaProducer(
        **client_options(settings.kafka),
        enable_idempotence=True,
        acks="all",
        max_request_size=SIZE_LIMIT,
        request_timeout_ms=15_000,
    )
    try:
        with broker_errors(settings.kafka.bootstrap_servers):
            await producer.start()
            pending = [await producer.send(event.topic, value=event.value, key=event.key) for event in events]
            answers = await asyncio.gather(*pending, return_exceptions=True)
    finally:
        await producer.stop()
    return [
        SendResult(event, error=error_reason(answer))
        if isinstance(answer, BaseException)
        else SendResult(event, answer.partition, answer.offset)
        for event, answer in zip(events, answers, strict=True)
    ]


async def _check_topics(names: set[str], settings: Settings) -> None:
    """Raise TopicsMissing if a topic is missing: the broker might create it with the wrong number of partitions."""
    missing = [
        state.spec.name for state in await topic_states(settings) if state.found is None and state.spec.name in names
    ]
    if missing:
        raise TopicsMissing(detail=f"There is no topic {', '.join(missing)}.")
