"""Events onto their topics, each confirmed by the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from streams.cli.event_file import Letter
from streams.failures import TopicsMissing
from streams.kafka.brokers import broker_errors, client_options, error_reason
from streams.kafka.publisher import SIZE_LIMIT
from streams.kafka.topics import topic_states
from streams.settings import Settings


@dataclass(frozen=True)
class Sent:
    """A letter and where the broker put it, or why it is not confirmed."""

    letter: Letter
    partition: int = -1
    offset: int = -1
    fault: str | None = None


async def send(letters: Sequence[Letter], settings: Settings) -> list[Sent]:
    """Send in order and wait for every confirmation. Raises BrokerUnavailable, TopicsMissing before anything is sent.

    The partition follows from the key as Java's clients choose it (murmur2), so equal ids stay in order.
    """
    await _topics_exist({letter.topic for letter in letters}, settings)
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
            waiting = [await producer.send(letter.topic, value=letter.value, key=letter.key) for letter in letters]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        await producer.stop()
    return [
        Sent(letter, fault=error_reason(answer))
        if isinstance(answer, BaseException)
        else Sent(letter, answer.partition, answer.offset)
        for letter, answer in zip(letters, answers, strict=True)
    ]


async def _topics_exist(names: set[str], settings: Settings) -> None:
    """A broker may create what a producer names; a topic with the wrong partitions would be worse than an error."""
    missing = [
        state.spec.name for state in await topic_states(settings) if state.found is None and state.spec.name in names
    ]
    if missing:
        raise TopicsMissing(detail=f"There is no topic {', '.join(missing)}.")
