"""Everything a worker runs beside Faust: wired here, started in order, stopped in reverse order.

The start order finds whatever is wrong with a deployment (topics, store, weights) before the worker takes an event.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass

import structlog

from streams.device.client import DeviceClient
from streams.failures import NoServices, OnlyFirst, StreamError
from streams.handlers import Handlers
from streams.kafka import topics
from streams.kafka.delivery import Attempt, Delivery
from streams.kafka.in_flight import InFlightEvents
from streams.kafka.lag import LagProbe
from streams.kafka.ledger import Ledger, Partition
from streams.kafka.publisher import Publisher, worker_version
from streams.messages import Outcome, RawEvent
from streams.products.release import follow_expiry
from streams.requests import Tools
from streams.segments.prompting import Prompter
from streams.settings import Settings
from streams.store.keys import PARKED
from streams.store.protocol import ObjectStore
from streams.store.s3 import MinioStore
from streams.store.signed_objects import Signer
from streams.unknown_variables import ignored_variables
from streams.watchdog import Watchdog
from streams.web.counting import CountingPublisher
from streams.web.server import WebServer
from streams.web.state import WorkerView

log = structlog.get_logger(__name__)

_COUNT_SECONDS = 60.0  # between two counts of the parked segments: a thousand keys are one request


@dataclass(frozen=True)
class Input:
    """An input topic, the attempt that handles its events, and its events in flight."""

    topic: str
    attempt: Attempt
    in_flight: InFlightEvents


class Runtime:
    """The parts of one worker. entry: of the device process. stop_worker: called at most once, with the reason."""

    def __init__(self, settings: Settings, entry: str, stop_worker: Callable[[Exception], None]) -> None:
        self.settings = settings
        self._stop_worker = stop_worker = OnlyFirst(stop_worker)
        self._publisher = Publisher(settings)
        self._counting_publisher = CountingPublisher(self._publisher)
        self._delivery = Delivery(self._counting_publisher, settings.delivery, stop_worker)
        self._watchdog = Watchdog(settings.delivery.stall)
        self._lag = LagProbe(settings.kafka, group_id(settings))
        self._background: list[asyncio.Task[None]] = []
        self._device = DeviceClient(settings.studio.plan(), settings.device, entry, stop_worker)
        self._training_device = self._device
        if settings.role == "all":  # a second device process, so that training does not delay pictures
            self._training_device = DeviceClient(settings.studio.plan(), settings.device, entry, stop_worker)
            self._device.share_device(self._training_device)
        self._handlers: Handlers | None = None
        self._store: MinioStore | None = None
        self.inputs = self._inputs()
        self.view = self._view()
        self._web = WebServer(self.view, settings.web)

    async def start(self) -> None:
        """Serve the pages, check topics and store, load the models, connect. Raises the error of a step that fails."""
        settings = self.settings
        if "embedded" in {settings.kafka.bootstrap_servers, settings.storage.endpoint}:
            raise NoServices
        signer = Signer.from_settings(settings.storage)
        self._watchdog.start()
        await self._web.start()
        for variable in ignored_variables(Settings):
            log.warning("a variable is ignored", reason=str(variable))
        await topics.check(settings)
        self._run_in_background(self._lag.follow(lambda: self.view.assigned or ()), "lag")
        self._store = self.view.store = MinioStore(settings.storage)
        await self._store.check()
        if settings.role != "render":
            self._run_in_background(self._count_waiting(self._store), "waiting-segments")
        log.info("loading the models", diffusion=settings.studio.diffusion, device=settings.studio.device)
        ready = await self._device.start()
        for note in ready.notes:
            log.info("weights", note=note)
        await self._publisher.start()
        negative = settings.studio.negative_prompt
        negative = ready.negative_prompt if negative is None else negative
        prompter = Prompter(ready.tokenizer, ready.max_tokens, negative, ready.vocabulary)
        tools = Tools(self._device, self._store, prompter, settings, self._counting_publisher)
        self.use_tools(tools)
        if settings.role != "render":
            follow = follow_expiry(tools.signed, self._counting_publisher, settings.training.max_parked_days)
            self._run_in_background(follow, "expiry")
        _freeze()
        log.info(
            "ready",
            role=settings.role,
            version=worker_version(),
            device=ready.device,
            recipe=tools.recipe.fingerprint,
            studio_recipe=ready.recipe.fingerprint,
            signing_keys=signer.fingerprints,
        )

    def use_tools(self, tools: Tools) -> None:
        """Handle events with these tools from now on."""
        self._handlers = Handlers(tools, self._training_device)
        self.view.invalid, self.view.recipe = tools.invalid, tools.recipe.fingerprint
        self.view.loaded = True

    async def drain(self) -> None:
        """Finish the events in flight within the deadline of the settings."""
        self.view.draining = True
        await asyncio.gather(*(each.in_flight.drain(self.settings.delivery.drain) for each in self.inputs))

    async def stop(self) -> None:
        """Stop every part, in reverse order of the start."""
        self._watchdog.stop()
        for task in self._background:
            task.cancel()
        await self._lag.close()
        await asyncio.gather(*(device.stop() for device in {self._device, self._training_device}))
        await self._publisher.stop()
        if self._store is not None:
            self._store.close()
        await self._web.stop()

    def on_revoked(self, partitions: Collection[Partition]) -> None:
        """Stop acking events of these partitions: a rebalance has taken them away."""
        self.view.assigned = None
        for each in self.inputs:
            each.in_flight.revoke(partitions)

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """Remember which partitions this worker owns now, and drop the jobs of all others."""
        self.view.assigned = frozenset(partitions)
        for each in self.inputs:
            each.in_flight.keep_only(partitions)

    def _inputs(self) -> tuple[Input, ...]:
        names, settings = self.settings.topics, self.settings
        segments = Input(names.segment_updated, self._render, self._in_flight(settings.delivery.concurrency))
        products = Input(names.product_registered, self._train, self._in_flight(settings.training.concurrency))
        return {"render": (segments,), "train": (products,), "all": (segments, products)}[settings.role]

    def _in_flight(self, concurrency: int) -> InFlightEvents:
        return InFlightEvents(Ledger(self.settings.delivery.window), self._delivery, concurrency, self._stop_worker)

    def _view(self) -> WorkerView:
        return WorkerView(
            self.settings,
            device=self._device,
            training_device=None if self._training_device is self._device else self._training_device,
            in_flight=tuple(each.in_flight for each in self.inputs),
            watchdog=self._watchdog,
            lag=self._lag,
            publisher=self._counting_publisher,
            delivery=self._delivery,
        )

    def _run_in_background(self, work: Coroutine[None, None, None], name: str) -> None:
        self._background.append(asyncio.create_task(work, name=name))

    async def _count_waiting(self, store: ObjectStore) -> None:
        """Count the parked segments in the store until cancelled. An unreachable store makes the count unknown."""
        while True:
            try:
                self.view.waiting_segments = len(await store.list(PARKED))
            except StreamError:
                self.view.waiting_segments = None
            await asyncio.sleep(_COUNT_SECONDS)

    async def _render(self, raw: RawEvent) -> Outcome | None:
        assert self._handlers is not None
        outcome = await self._handlers.render(raw)
        self._counting_publisher.parked += outcome is None
        return outcome

    async def _train(self, raw: RawEvent) -> Outcome | None:
        assert self._handlers is not None
        return await self._handlers.train(raw)


def group_id(settings: Settings) -> str:
    """Return the consumer group. Each role has its own group, since the roles consume different topics."""
    return settings.kafka.group if settings.role == "all" else f"{settings.kafka.group}-{settings.role}"


def _freeze() -> None:
    """Keep the worker's own objects out of garbage collections.

    An event of many small values triggers a full one. It takes 100 ms with these objects, and 10 ms without them.
    """
    gc.collect()
    gc.freeze()
