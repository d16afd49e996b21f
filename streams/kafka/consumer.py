"""Faust's Kafka consumer on the worker's own event loop, instead of in a thread with a second loop.

`App.transport` is a Transport. It makes one Consumer, whose `_thread` is a service that owns the aiokafka consumer. In
Faust that service runs in a real thread; here a task of the worker's loop runs it. The other classes undo what only
makes sense between two loops. docs/decisions/0012 gives the reason and the measurements. For every name of Faust, mode
and aiokafka that this module relies on, it lists the default, why we replace it, and the test that fails if it changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP
from mode.services import WaitResults
from mode.threads import ServiceThread
from mode.utils.futures import maybe_async

log = structlog.get_logger(__name__)

_STOP_SECONDS = 10.0
_FAUST_LOGGER = logging.getLogger("faust.consumer")  # log levels for "faust" cover these classes too


class _LoopWorker:
    """Runs a ServiceThread as a task. Stands in for `mode.threads.WorkerThread`, which runs it in a thread."""

    def __init__(self, service: ServiceThread) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the coroutine that mode's thread would run. `ServiceThread.start` raises its errors to the caller."""
        serving = self._service._serve()  # noqa: SLF001
        self._task = self._service.parent_loop.create_task(serving, name="consumer")
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # already raised by `start`

    def stop(self) -> None:
        """Do nothing: mode calls this to join a thread, once the service has shut down, which ends the task."""


class _LoopConsumer(driver.AIOKafkaConsumerThread):
    """The service that owns the aiokafka consumer. In Faust each call crosses to its thread and back by a queue."""

    logger = _FAUST_LOGGER
    transport: Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last_fetched: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        """Create the aiokafka consumer with the isolation level of the settings. Faust always reads uncommitted."""
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = transport.isolation  # noqa: SLF001
        return consumer

    def skipped_to(self, committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Return the positions that can be committed because only markers and aborted records lie before them.

        committed: the committed offset of each partition, None without one. A position is ahead of it with no event in
        between if everything that was fetched has been acked and committed, or if nothing was fetched.

        During a rebalance there are none. The positions are still those of the old assignment, and the events before
        them may be unacked: the next owner must get them again.
        """
        subscriptions = self._consumer and self._consumer._subscription  # noqa: SLF001
        if not subscriptions or subscriptions.subscription is None or subscriptions.reassignment_in_progress:
            return {}
        assignment = subscriptions.subscription.assignment
        found = {}
        for pair in assignment.tps if assignment else ():
            tp, state = TP(pair.topic, pair.partition), assignment.state_value(pair)
            last, offset = self._last_fetched.get(tp), committed.get(tp)
            if state.has_valid_position and last in (None, (offset or 0) - 1) and state.position > (offset or 0):
                found[tp] = state.position
        return found

    def forget(self, partitions: Iterable[TP]) -> None:
        """Forget what was fetched of revoked partitions."""
        for tp in partitions:
            self._last_fetched.pop(tp, None)

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call `fun`. As in a thread, the call goes on if its caller is cancelled, so that no commit is cut off."""
        return await asyncio.shield(maybe_async(fun(*args, **kwargs)))

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109
        """Return the records fetched within `timeout` seconds. A cancelled fetch takes no record.

        `call_thread` would let a cancelled fetch go on, and its records would be lost with it.
        """
        consumer = self._ensure_consumer()
        records: dict[TP, list[Any]] = await self._fetch_records(
            consumer,
            active_partitions,
            timeout=timeout,
            max_records=consumer._max_poll_records,  # noqa: SLF001
        )
        self._last_fetched |= {TP(*pair): fetched[-1].offset for pair, fetched in records.items() if fetched}
        return records

    async def on_thread_stop(self) -> None:
        """Leave the consumer group, within `_STOP_SECONDS`. Events that were not committed are delivered again.

        Without a broker, aiokafka's stop waits for one, or raises the CancelledError of a task that it cancelled.
        """
        stopping = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([stopping], timeout=_STOP_SECONDS)
        if not stopping.done() or stopping.cancelled():
            log.warning("could not leave the consumer group cleanly: no broker answers")
        else:
            stopping.result()

    async def _gather_remaining_tasks(self) -> None:
        """Cancel nothing. mode cancels every task of the thread's loop here, and this loop is the whole worker's."""


class Consumer(driver.Consumer):
    """A consumer without a thread, which delivers a message with one task instead of four."""

    logger = _FAUST_LOGGER

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109
        """Wait for the first of several coroutines. A pair holds a message's delivery and the end of the flow.

        Faust makes four tasks for each message, so that a rebalance can cancel a delivery that waits for room in its
        agent's buffer. Nearly every delivery finds room at once. It takes one task and one turn of the loop; only a
        delivery that waits goes Faust's way. The turn also lets the worker act on the message before the next one:
        without it a backlog reaches the device in bursts.
        """
        if len(coros) != 2:
            return await super().wait_first(*coros, timeout=timeout)
        delivery, end_of_flow = asyncio.ensure_future(coros[0]), coros[1]
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            delivery.cancel()
            end_of_flow.close()
            raise
        if not delivery.done():
            return await super().wait_first(delivery, end_of_flow, timeout=timeout)
        end_of_flow.close()
        return WaitResults([delivery], [delivery.result()], stopped=False)

    async def sleep(self, n: Any) -> None:
        """Sleep. For 0 seconds mode makes a task and cancels it at once; a turn of the loop is enough."""
        await (super().sleep(n) if n else asyncio.sleep(0))

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the acked offsets, then what a transaction leaves behind them.

        Faust commits up to the last event. A transaction ends with a marker, which is no event: without the second step
        the lag would stay at 1 after it.
        """
        committed: bool = await super().commit(topics, start_new_transaction)
        if skipped := self._thread.skipped_to(self._committed_offset):
            committed |= await self._commit_offsets(skipped)
        return committed

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was fetched: the next owner starts at the committed offset."""
        self._thread.forget(revoked)
        await super().on_partitions_revoked(revoked)

    def _new_consumer_thread(self) -> _LoopConsumer:
        return _LoopConsumer(self, loop=self.loop, thread_loop=self.loop, Worker=_LoopWorker, beacon=self.beacon)


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer above. `CreativesApp._new_transport` returns it."""

    isolation = "read_uncommitted"
    Consumer = Consumer
