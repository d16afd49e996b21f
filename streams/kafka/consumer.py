"""Faust's consumer on the worker's own event loop, where Faust gives it a thread and a loop of its own (decision 0012).

What Faust calls the thread is a service with a loop. Here the loop is ours, and a task serves instead of a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP
from mode.services import WaitResults
from mode.threads import ServiceThread
from mode.utils.futures import maybe_async

log = structlog.get_logger(__name__)

_STOP_SECONDS = 10.0
_LOGGER = logging.getLogger("faust.consumer")  # Faust's lines about it are Faust's, as those of `CreativesApp`


class _Serving:
    """Stands where mode starts and joins a thread (`mode.threads.WorkerThread`)."""

    def __init__(self, service: ServiceThread) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve. What goes wrong reaches who starts the service, through the service."""
        serving = self._service._serve()  # noqa: SLF001 - what mode's own thread runs
        self._task = self._service.parent_loop.create_task(serving, name="consumer")
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def stop(self) -> None:
        """Join nothing: the task ends by itself once the service was told to, which has been waited for."""


class _LoopConsumer(driver.AIOKafkaConsumerThread):
    """What Faust takes for the consumer's thread."""

    logger = _LOGGER

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call. As in a thread, what has begun goes on to its end where its caller gives up: a commit, for one."""
        return await asyncio.shield(maybe_async(fun(*args, **kwargs)))

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109
        """Return what was fetched. Without a task in between: a caller that gives up has taken no record."""
        consumer = self._ensure_consumer()
        most = consumer._max_poll_records  # noqa: SLF001 - as Faust does
        records: dict[TP, list[Any]] = await self._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=most
        )
        return records

    async def on_thread_stop(self) -> None:
        """Leave the group, within `_STOP_SECONDS`: what was not committed comes again, to the same bytes.

        Where no broker answers, aiokafka's own end waits for one, or is cut off by a task that it has itself cancelled.
        """
        leaving = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([leaving], timeout=_STOP_SECONDS)
        if not leaving.done() or leaving.cancelled():
            log.warning("left the group without a word to it: no broker answers")
        else:
            leaving.result()

    async def _gather_remaining_tasks(self) -> None:
        """Cancel none: a thread would leave nobody else's tasks on its loop, but ours goes on."""


class Consumer(driver.Consumer):
    """A consumer without a thread."""

    logger = _LOGGER

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109
        """Wait for the first of several. Two are a message's delivery and the end of the flow.

        Faust makes four tasks of each message; here only one that has to wait gets them.
        """
        if len(coros) != 2:
            return await super().wait_first(*coros, timeout=timeout)
        delivery, end_of_flow = coros
        try:
            waited_for = delivery.send(None)
        except StopIteration:
            end_of_flow.close()
            await asyncio.sleep(0)  # of a backlog in one go, all would reach the device at the same time
            return WaitResults([], [], stopped=False)
        except BaseException:
            end_of_flow.close()
            raise
        return await super().wait_first(_Rest(delivery, waited_for), end_of_flow, timeout=timeout)

    async def sleep(self, n: Any) -> None:
        """Sleep. Faust's way to let others run for a moment, `sleep(0)`, is a task that is cancelled at once."""
        await (super().sleep(n) if n else asyncio.sleep(0))

    def _new_consumer_thread(self) -> _LoopConsumer:
        return _LoopConsumer(self, loop=self.loop, thread_loop=self.loop, Worker=_Serving, beacon=self.beacon)


class _Rest:
    """What is left of a coroutine that waits for something."""

    def __init__(self, begun: Coroutine[Any, Any, Any], waited_for: Any) -> None:
        self._begun = begun
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, None, Any]:
        waited_for = self._waited_for
        while True:
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's own affair
                step = partial(self._begun.throw, error)
            else:
                step = partial(self._begun.send, None)
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value


class Transport(driver.Transport):
    """Faust's transport over aiokafka, with that consumer."""

    Consumer = Consumer
