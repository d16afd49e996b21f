"""How far behind the group is, as the broker knows it: Faust's own idea of what is committed can be wrong."""

from __future__ import annotations

from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.brokers import client_options
from streams.failures import BrokerUnavailable
from streams.ledger import Partition
from streams.settings import KafkaSettings


class LagProbe:
    """Asks the broker for committed and end offsets; joins no group and fetches no message."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._servers = kafka.bootstrap_servers
        self._options = client_options(kafka) | {"group_id": group, "enable_auto_commit": False}
        self._consumer: AIOKafkaConsumer | None = None

    async def measure(self, partitions: Collection[Partition]) -> dict[str, int]:
        """Return the messages behind of each partition, by `topic[number]`. Raises BrokerUnavailable."""
        try:
            consumer = await self._connected()
            pairs = [TopicPartition(*partition) for partition in partitions]
            ends = await consumer.end_offsets(pairs)
            behind = {}
            for pair in pairs:
                committed = await consumer.committed(pair)
                behind[f"{pair.topic}[{pair.partition}]"] = max(0, ends[pair] - (committed or 0))
        except (KafkaError, OSError) as error:
            await self.close()
            raise BrokerUnavailable(servers=self._servers, detail=repr(error)) from error
        return behind

    async def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**self._options)
            try:
                await consumer.start()
            except (KafkaError, OSError):
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer
