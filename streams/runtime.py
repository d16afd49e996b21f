"""Everything a worker needs beside Faust, started in the order in which a deployment can be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from schemas.events import CreativeReady, ProductRegistered, SegmentUpdated
from streams.device.client import Lane
from streams.failures import NoServices, Once
from streams.kafka import topics
from streams.kafka.agents import Desk
from streams.kafka.delivery import Attempt, Delivery, decode
from streams.kafka.lag import LagProbe
from streams.kafka.ledger import Ledger, Partition
from streams.kafka.publisher import Publisher, worker_version
from streams.messages import Outcome, RawEvent
from streams.products.learn import learn_product
from streams.segments.prompting import Prompter
from streams.segments.render import Tools, render_segment
from streams.settings import Settings
from streams.store.s3 import MinioStore
from streams.watchdog import Watchdog
from streams.web.server import Web, WorkerState
from streams.web.tally import Tally

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Intake:
    """An input topic, what is done with its events, and the desk where they wait."""

    topic: str
    attempt: Attempt
    desk: Desk


class Crew:
    """Store, publisher, device lane, pages, watchdog; also the view that the pages show.

    entry: of the device process. die: told once why the worker must not go on.
    """

    def __init__(self, settings: Settings, entry: str, die: Callable[[Exception], None]) -> None:
        self.settings = settings
        self._publisher = Publisher(settings)
        self._tally = Tally(self._publisher)
        self._watchdog = Watchdog(settings.delivery.stall)
        self._die = die = Once(die)
        self._lane = Lane(settings.studio.plan(), settings.lane, entry, die)
        # Minutes of training must hold up no picture: a worker of both roles has a second device process for them.
        self._school = Lane(settings.studio.plan(), settings.lane, entry, die) if settings.role == "all" else self._lane
        self._schooling = asyncio.Lock()
        self._web = Web(self, settings.web)
        self._lag = LagProbe(settings.kafka, group_id(settings))
        self._following: asyncio.Task[None] | None = None
        self._delivery = Delivery(self._tally, settings.delivery, die)
        self._segments = self._desk(settings.delivery.concurrency)
        self._products = self._desk(settings.training.concurrency)
        self._tools: Tools | None = None
        self._store: MinioStore | None = None
        self._assigned: frozenset[Partition] | None = None
        self._draining = False

    def intakes(self) -> list[Intake]:
        """Return what the worker's role takes in."""
        names = self.settings.topics
        segments = Intake(names.segment_updated, self._render, self._segments)
        products = Intake(names.product_registered, self._learn, self._products)
        return {"render": [segments], "train": [products], "all": [segments, products]}[self.settings.role]

    async def start(self) -> None:
        """Show the pages, check topics and store, load the models, connect. Raises the first named error there is."""
        settings = self.settings
        if "embedded" in {settings.kafka.bootstrap_servers, settings.storage.endpoint}:
            raise NoServices
        self._watchdog.start()
        await self._web.start()
        await topics.check(settings)
        store = MinioStore(settings.storage)
        await store.check()
        self._store = store
        log.info("loading the models", diffusion=settings.studio.diffusion, device=settings.studio.device)
        ready = await self._lane.start()
        await self._publisher.start()
        negative = settings.studio.negative_prompt
        prompter = Prompter(ready.tokenizer, ready.max_tokens, ready.negative_prompt if negative is None else negative)
        self._tools = Tools(self._lane, store, prompter, settings, self._tally)
        self._following = asyncio.create_task(self._lag.follow(lambda: self._assigned or ()), name="lag")
        log.info("ready", role=settings.role, device=ready.device, recipe=ready.recipe.fingerprint[:12])

    async def drain(self) -> None:
        """Finish running work within the deadline of the settings."""
        self._draining = True
        await asyncio.gather(*(intake.desk.drain(self.settings.delivery.drain) for intake in self.intakes()))

    async def stop(self) -> None:
        """Let go of everything, last things first."""
        self._watchdog.stop()
        if self._following is not None:
            self._following.cancel()
        await self._lag.close()
        await asyncio.gather(*(lane.stop() for lane in {self._lane, self._school}))
        await self._publisher.stop()
        if self._store is not None:
            self._store.close()
        await self._web.stop()

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Take note that these partitions are no longer, or not yet again, ours."""
        self._assigned = None
        for intake in self.intakes():
            intake.desk.revoked(partitions)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Take note of everything that is ours now."""
        self._assigned = frozenset(partitions)
        for intake in self.intakes():
            intake.desk.assigned(partitions)

    def state(self) -> WorkerState:
        """See streams.web.server.View."""
        ready = self._lane.ready if self._tools is not None else None
        return WorkerState(
            role=self.settings.role,
            version=worker_version(),
            silence=self._watchdog.silence,
            stall=self.settings.delivery.stall,
            lane=self._lane.status(),
            school=None if self._school is self._lane else self._school.status(),
            joined=self._assigned is not None,
            draining=self._draining,
            assigned=tuple(sorted(f"{topic}[{number}]" for topic, number in self._assigned or ())),
            lag=self._lag.behind,
            broker_away=self._lag.away,
            oldest_event=max(intake.desk.oldest_seconds for intake in self.intakes()),
            events=sum(intake.desk.running for intake in self.intakes()),
            device=ready.device if ready else None,
            recipe=ready.recipe.fingerprint if ready else None,
            outcomes=self._tally.outcomes,
            dead_letters=self._tally.dead_letters,
        )

    def latest(self) -> Sequence[CreativeReady]:
        """See streams.web.server.View."""
        return self._tally.latest

    async def check_store(self) -> None:
        """See streams.web.server.View."""
        if self._store is not None:
            await self._store.check()

    def _desk(self, concurrency: int) -> Desk:
        return Desk(Ledger(self.settings.delivery.window), self._delivery, concurrency, self._die)

    async def _render(self, raw: RawEvent) -> Outcome | None:
        event = decode(raw, SegmentUpdated, self.settings.delivery.max_event_bytes)
        assert self._tools is not None
        return await render_segment(event, raw.source, self._tools, raw.headers)

    async def _learn(self, raw: RawEvent) -> Outcome | None:
        event = decode(raw, ProductRegistered, self.settings.delivery.max_event_bytes)
        assert self._tools is not None
        async with self._schooling:
            if self._school.status().state == "stopped":
                await self._school.start()
        return await learn_product(event, raw.source, replace(self._tools, lane=self._school), raw.headers)


def group_id(settings: Settings) -> str:
    """Return the consumer group: the roles are groups of their own, since they take different topics."""
    return settings.kafka.group if settings.role == "all" else f"{settings.kafka.group}-{settings.role}"
