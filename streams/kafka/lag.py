"""How far behind the group is, as the broker knows it: Faust's own idea of what is committed can be wrong.

The same questions tell whether the broker is there at all: aiokafka's clients try for ever and keep it to themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.failures import BrokerUnavailable
from streams.kafka.brokers import client_options
from streams.kafka.ledger import Partition
from streams.settings import KafkaSettings

log = structlog.get_logger(__name__)

_EVERY = 5.0  # seconds
_PATIENCE = 10.0  # seconds of one probe
_MISSES = 2  # one missed probe is a hiccup, or an election


class LagProbe:
    """Asks the broker for committed and end offsets; joins no group and fetches no message.

    behind: messages behind of each partition, by `topic[number]`, as last heard.
    """

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._servers = kafka.bootstrap_servers
        self._options = client_options(kafka) | {"group_id": group, "enable_auto_commit": False}
        self._consumer: AIOKafkaConsumer | None = None
        self.behind: dict[str, int] = {}
        self._answered_at: float | None = None
        self._misses = 0

    @property
    def unreachable_seconds(self) -> float:
        """Return the seconds since the broker last answered; 0 while it does."""
        if self._answered_at is None or self._misses < _MISSES:
            return 0.0
        return asyncio.get_running_loop().time() - self._answered_at

    async def follow(self, partitions: Callable[[], Collection[Partition]]) -> None:
        """Measure again and again, for ever; whatever goes wrong with a probe, the next one is made."""
        loop = asyncio.get_running_loop()
        self._answered_at = loop.time()
        while True:
            await asyncio.sleep(_EVERY)
            probe = loop.create_task(self.measure(partitions()), name="lag-probe")
            try:
                await asyncio.wait({probe}, timeout=_PATIENCE)
            finally:
                probe.cancel()  # does nothing to one that is done
            if probe.done() and not probe.cancelled() and probe.exception() is None:
                if self.unreachable_seconds:
                    log.info("the broker answers again", unreachable_seconds=round(self.unreachable_seconds))
                self.behind, self._answered_at, self._misses = probe.result(), loop.time(), 0
                continue
            self._misses += 1
            reason = str(probe.exception()) if probe.done() else f"no answer within {_PATIENCE:g} s"
            log.warning("lag unknown", reason=reason, misses=self._misses)

    async def measure(self, partitions: Collection[Partition]) -> dict[str, int]:
        """Return the messages behind of each partition, by `topic[number]`. Raises BrokerUnavailable."""
        try:
            consumer = await self._connected()
            pairs = [TopicPartition(*partition) for partition in partitions]
            if not pairs:
                await consumer.topics()  # a spare knows too whether the broker is there
            ends = await consumer.end_offsets(pairs)
            committed = await asyncio.gather(*map(consumer.committed, pairs))
        except (KafkaError, OSError) as error:
            await self.close()
            raise BrokerUnavailable(servers=self._servers, detail=repr(error)) from error
        done = zip(pairs, committed, strict=True)
        return {f"{pair.topic}[{pair.partition}]": max(0, ends[pair] - (offset or 0)) for pair, offset in done}

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
                self._consumer = consumer
            finally:
                if self._consumer is not consumer:  # refused, or nobody waits for the answer any more
                    await consumer.stop()
        return self._consumer
