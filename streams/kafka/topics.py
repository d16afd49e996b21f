"""The topics the service needs: their names and partitions, a check against the broker, and their creation.

A worker never creates a topic by itself: a misspelled name would become an empty topic that nobody notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.failures import BrokerUnavailable, StreamError, TopicsForbidden, TopicsMissing
from streams.kafka.brokers import broker_errors, client_options, error_reason
from streams.settings import Settings, TopicSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TopicSpec:
    """A topic as the settings define it."""

    name: str
    partitions: int
    replicas: int


@dataclass(frozen=True)
class TopicState:
    """A topic on the broker. found: its number of partitions, None if it is missing or forbidden.

    forbidden: this Kafka user may not describe it, so nobody knows whether it exists.
    """

    spec: TopicSpec
    found: int | None
    forbidden: bool = False

    @property
    def fault(self) -> str | None:
        """Return why the topic cannot be used, None if it can."""
        if self.forbidden:
            return "may not be described by this Kafka user"
        return "is missing" if self.found is None else None

    @property
    def difference(self) -> str | None:
        """Return how an existing topic differs from the settings, None if it does not. It works all the same."""
        if self.found is None or self.found == self.spec.partitions:
            return None
        return f"{self.found} partitions, CREATIVES_TOPICS__PARTITIONS is {self.spec.partitions}"


def dead_letter_topic(topics: TopicSettings, name: str) -> str:
    """Return the name of the dead-letter topic of the input topic `name`."""
    return name + topics.dead_suffix


def expected_topics(settings: Settings) -> list[TopicSpec]:
    """Return every topic the service uses, inputs first."""
    topics = settings.topics
    inputs = [topics.segment_updated, topics.product_registered]
    outputs = [topics.creative_ready, topics.product_ready, topics.creative_rejected]
    names = inputs + outputs + [dead_letter_topic(topics, name) for name in inputs]
    return [TopicSpec(name, topics.partitions, topics.replication_factor) for name in names]


async def topic_states(settings: Settings) -> list[TopicState]:
    """Return the state of every expected topic. Raises BrokerUnavailable."""
    specs = expected_topics(settings)
    async with _Admin(settings) as admin:
        described = {topic["topic"]: topic for topic in await admin.describe_topics([spec.name for spec in specs])}
    return [_state(spec, described.get(spec.name)) for spec in specs]


def _state(spec: TopicSpec, topic: dict[str, Any] | None) -> TopicState:
    code = UnknownTopicOrPartitionError.errno if topic is None else topic["error_code"]
    if topic is not None and code == 0:
        return TopicState(spec, len(topic["partitions"]))
    if code == TopicAuthorizationFailedError.errno:
        return TopicState(spec, None, forbidden=True)
    return TopicState(spec, None)


def topic_problem(states: list[TopicState], prefix: str = "") -> StreamError | None:
    """Return one error for all topics that are missing or forbidden, None if there are none.

    prefix: text before their names.
    """
    faults = [f"topic {state.spec.name} {state.fault}" for state in states if state.fault]
    if not faults:
        return None
    error = TopicsForbidden if any(state.forbidden for state in states) else TopicsMissing
    return error(detail=f"{prefix}{'; '.join(faults)}.")


async def check(settings: Settings) -> None:
    """Raise TopicsMissing or TopicsForbidden unless every topic can be used. Log other numbers of partitions.

    The setting applies when a topic is created. Any number works, and operators add partitions to a busy topic.
    """
    states = await topic_states(settings)
    if error := topic_problem(states):
        raise error
    for state in states:
        if state.difference:
            log.warning("a topic differs from the settings, which apply at its creation only", **_counts(state))


def _counts(state: TopicState) -> dict[str, str | int | None]:
    return {"topic": state.spec.name, "partitions": state.found, "setting": state.spec.partitions}


async def create(settings: Settings) -> list[TopicSpec]:
    """Create the missing topics and return them. Existing topics keep their partition count, or keys would move."""
    missing = [state.spec for state in await topic_states(settings) if state.found is None]
    if not missing:
        return []
    new = [NewTopic(spec.name, num_partitions=spec.partitions, replication_factor=spec.replicas) for spec in missing]
    async with _Admin(settings) as admin:
        response = await admin.create_topics(new)
    for name, code, message in (entry[:3] for entry in response.topic_errors):
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise TopicsMissing(detail=f"topic {name} could not be created: {message or error.__name__}.")
    return missing


class _Admin:
    """An admin client that raises BrokerUnavailable instead of Kafka's errors."""

    def __init__(self, settings: Settings) -> None:
        self._servers = settings.kafka.bootstrap_servers
        self._client = AIOKafkaAdminClient(**client_options(settings.kafka), request_timeout_ms=15_000)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        try:
            with broker_errors(self._servers):
                await self._client.start()
        except BrokerUnavailable:
            await self._client.close()
            raise
        return self._client

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        await self._client.close()
        if isinstance(error, KafkaError):
            raise BrokerUnavailable(servers=self._servers, detail=error_reason(error)) from error
