"""The consumer group's lag, read from the broker because Faust's own record of committed offsets can be wrong.

The same requests show whether the broker is reachable: aiokafka's clients retry without end and raise nothing.
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

_INTERVAL = 2.0  # seconds between two probes
_TIMEOUT = 2.0  # seconds of one probe; with the interval, a dead broker shows after 4 s


class LagProbe:
    """Reads committed and end offsets from the broker. Joins no group and fetches no message.

    lag_by_partition: messages that the group has not committed, by `topic[number]`; None if the last probe failed.
    """

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._servers = kafka.bootstrap_servers
        self._options = client_options(kafka) | {"group_id": group, "enable_auto_commit": False}
        self._options["isolation_level"] = kafka.isolation
        self._consumer: AIOKafkaConsumer | None = None
        self.lag_by_partition: dict[str, int] | None = None
        self._answered_at: float | None = None
        self._failed = False

    @property
    def unreachable_seconds(self) -> float:
        """Return the seconds since the broker last answered, 0 unless the last probe failed."""
        if self._answered_at is None or not self._failed:
            return 0.0
        return asyncio.get_running_loop().time() - self._answered_at

    async def follow(self, partitions: Callable[[], Collection[Partition]]) -> None:
        """Measure until cancelled. A probe that fails in any way does not stop the next one."""
        loop = asyncio.get_running_loop()
        self._answered_at = loop.time()
        while True:
            await asyncio.sleep(_INTERVAL)
            probe = loop.create_task(self.measure(partitions()), name="lag-probe")
            try:
                await asyncio.wait({probe}, timeout=_TIMEOUT)
            finally:
                probe.cancel()  # no effect on a probe that is done
            if probe.done() and not probe.cancelled() and probe.exception() is None:
                if self.unreachable_seconds:
                    log.info("the broker answers again", unreachable_seconds=round(self.unreachable_seconds))
                self.lag_by_partition, self._answered_at, self._failed = probe.result(), loop.time(), False
                continue
            if not self._failed:  # once per outage
                reason = str(probe.exception()) if probe.done() else f"no answer within {_TIMEOUT:g} s"
                log.warning("lag unknown", reason=reason)
            self.lag_by_partition, self._failed = None, True

    async def measure(self, partitions: Collection[Partition]) -> dict[str, int]:
        """Return the lag of each partition in messages, by `topic[number]`. Raises BrokerUnavailable."""
        try:
            consumer = await self._connect()
            pairs = [TopicPartition(*partition) for partition in partitions]
            if not pairs:
                await consumer.topics()  # a worker without partitions checks the broker too
            ends = await consumer.end_offsets(pairs)
            committed = await asyncio.gather(*map(consumer.committed, pairs))
        except (KafkaError, OSError) as error:
            await self.close()
            raise BrokerUnavailable(servers=self._servers, detail=repr(error)) from error
        offsets = zip(pairs, committed, strict=True)
        return {f"{pair.topic}[{pair.partition}]": max(0, ends[pair] - (offset or 0)) for pair, offset in offsets}

    async def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**self._options)
            try:
                await consumer.start()
                self._consumer = consumer
            finally:
                if self._consumer is not consumer:  # the start failed or was cancelled
                    await consumer.stop()
        return self._consumer
