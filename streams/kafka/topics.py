"""Topic names and partitions: what must exist, what does, and making it so.

A worker never creates topics on the side: a wrong name would otherwise become a silent empty topic.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.failures import BrokerUnavailable, StreamError, TopicsMissing, WrongPartitions
from streams.kafka.brokers import broker_errors, client_options, error_reason
from streams.settings import Settings, TopicSettings


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int
    replicas: int


@dataclass(frozen=True)
class TopicState:
    """A topic as it is: found is its number of partitions, None when it does not exist."""

    spec: TopicSpec
    found: int | None

    @property
    def problem(self) -> str | None:
        """Return what is wrong with it, None if nothing."""
        if self.found is None:
            return f"topic {self.spec.name} is missing"
        if self.found != self.spec.partitions:
            return f"topic {self.spec.name} has {self.found} partitions, not {self.spec.partitions}"
        return None


def dead(topics: TopicSettings, name: str) -> str:
    """Return the name of the dead letter topic of the input topic `name`."""
    return name + topics.dead_suffix


def expected_topics(settings: Settings) -> list[TopicSpec]:
    """Return every topic the service uses, inputs first."""
    topics = settings.topics
    inputs = [topics.segment_updated, topics.product_registered]
    outputs = [topics.creative_ready, topics.product_ready, topics.creative_rejected]
    names = inputs + outputs + [dead(topics, name) for name in inputs]
    return [TopicSpec(name, topics.partitions, topics.replication_factor) for name in names]


async def topic_states(settings: Settings) -> list[TopicState]:
    """Ask the broker about every expected topic. Raises BrokerUnavailable."""
    specs = expected_topics(settings)
    async with _Admin(settings) as admin:
        found = {}
        for topic in await admin.describe_topics([spec.name for spec in specs]):
            if topic["error_code"] == 0:
                found[topic["topic"]] = len(topic["partitions"])
    return [TopicState(spec, found.get(spec.name)) for spec in specs]


def topic_problem(found: list[TopicState], opening: str = "") -> StreamError | None:
    """Return what is wrong with these topics and what to do: what is missing before what has wrong partitions."""
    missing = [state.problem for state in found if state.found is None and state.problem]
    wrong = [state.problem for state in found if state.found is not None and state.problem]
    if missing:
        return TopicsMissing(detail=f"{opening}{'; '.join(missing + wrong)}.")
    return WrongPartitions(detail=f"{opening}{'; '.join(wrong)}.") if wrong else None


async def check(settings: Settings) -> None:
    """Raise TopicsMissing or WrongPartitions unless every topic exists with the right number of partitions."""
    problem = topic_problem(await topic_states(settings))
    if problem is not None:
        raise problem


async def create(settings: Settings) -> list[TopicSpec]:
    """Create what is missing and return it. Partition counts of existing topics are left alone: keys would move."""
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
    """An admin client whose failures speak of the broker."""

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
