"""The worker's state at one moment, and the view that collects it for the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol

from schemas.events import CreativeReady
from streams.device.client import DeviceClient
from streams.device.status import DeviceStatus
from streams.kafka.delivery import Delivery
from streams.kafka.in_flight import InFlightEvents
from streams.kafka.lag import LagProbe
from streams.kafka.ledger import Partition
from streams.kafka.publisher import worker_version
from streams.settings import Settings
from streams.store.protocol import ObjectStore
from streams.store.signed_objects import InvalidObjects
from streams.watchdog import Watchdog
from streams.web.counting import CountingPublisher

_PICTURE_BYTES = 32 * 2**20  # far more than any picture has
_GRACE = 5.0  # seconds without an answer of the broker that are no reason to be unready: a leader election


@dataclass(frozen=True)
class WorkerState:
    """A worker at one moment. `/status` returns it as JSON.

    main_loop_silence: seconds since the last tick of the main loop; `stall` seconds without a tick count as blocked.
    training_process: second device process of a worker with both roles; it starts with the first training job.
    joined: True after the consumer group has assigned partitions, even none. events: events in flight.
    products: registrations in flight, in training or waiting for it.
    lag: unprocessed messages by partition, None while unknown.
    oldest_event: age of the oldest unfinished event in seconds.
    broker_unreachable: seconds since the broker last answered, 0 while it answers.
    waiting_segments: segments in the store that wait for a product, None if this worker does not count them.
    recipe, studio_recipe: fingerprints of the recipes in `creative-ready` and in `product-ready`.
    outcomes: counts by topic. dead_letters: counts by code. invalid_objects: found in the store and ignored.
    parked, released: segments that this worker parked, and that it sent again after the training of their product.
    scratch_problems: why events wait for the scratch folder; empty while it can be used.
    """

    role: str
    version: str
    main_loop_silence: float
    stall: float
    device_process: DeviceStatus
    training_process: DeviceStatus | None = None
    joined: bool = False
    draining: bool = False
    assigned: tuple[str, ...] = ()
    lag: Mapping[str, int] | None = None
    broker_unreachable: float = 0.0
    events: int = 0
    products: int = 0
    waiting_segments: int | None = None
    oldest_event: float = 0.0
    device: str | None = None
    recipe: str | None = None
    studio_recipe: str | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    invalid_objects: int = 0
    parked: int = 0
    released: int = 0
    scratch_problems: tuple[str, ...] = ()

    @property
    def device_processes(self) -> dict[str, DeviceStatus]:
        """The device processes by task, `render` or `train`. Omits a training process that was never started."""
        device_processes = {"train" if self.role == "train" else "render": self.device_process}
        if self.training_process is not None and (
            self.training_process.state != "stopped" or self.training_process.error_message
        ):
            device_processes["train"] = self.training_process
        return device_processes


class View(Protocol):
    """The data behind the pages."""

    def state(self) -> WorkerState:
        """Return the worker's state without any I/O."""
        ...

    def latest(self) -> Sequence[CreativeReady]:
        """Return the latest creatives, newest first."""
        ...

    async def check_store(self) -> None:
        """Raise StoreUnavailable or StoreRefused unless the store answers and the bucket exists."""
        ...

    async def fetch_picture(self, uri: str) -> bytes | None:
        """Return the bytes at an `s3://` URI in our bucket, None if there are none. Raises the errors of the store."""
        ...


@dataclass
class WorkerView:
    """The view of a running worker. The runtime updates the fields that have a default.

    store, invalid: None until the runtime opens the store. loaded: the models are loaded and the worker handles events.
    recipe: fingerprint of the recipe in `creative-ready`, once the models are loaded.
    assigned: None before the first assignment and during a rebalance.
    """

    settings: Settings
    _: KW_ONLY
    device: DeviceClient
    training_device: DeviceClient | None
    in_flight: Sequence[InFlightEvents]
    watchdog: Watchdog
    lag: LagProbe
    publisher: CountingPublisher
    delivery: Delivery
    store: ObjectStore | None = None
    invalid: InvalidObjects | None = None
    loaded: bool = False
    recipe: str | None = None
    draining: bool = False
    assigned: frozenset[Partition] | None = None
    waiting_segments: int | None = None

    def state(self) -> WorkerState:
        """See View."""
        ready = self.device.ready if self.loaded else None
        return WorkerState(
            role=self.settings.role,
            version=worker_version(),
            main_loop_silence=self.watchdog.silence,
            stall=self.settings.delivery.stall,
            device_process=self.device.status(),
            training_process=self.training_device.status() if self.training_device else None,
            joined=self.assigned is not None,
            draining=self.draining,
            assigned=tuple(sorted(f"{topic}[{number}]" for topic, number in self.assigned or ())),
            lag=self.lag.lag_by_partition,
            broker_unreachable=self.lag.unreachable_seconds,
            oldest_event=max(events.oldest_seconds for events in self.in_flight),
            events=sum(events.running for events in self.in_flight),
            products=0 if self.settings.role == "render" else self.in_flight[-1].running,
            waiting_segments=self.waiting_segments,
            device=ready.device if ready else None,
            recipe=self.recipe,
            studio_recipe=ready.recipe.fingerprint if ready else None,
            outcomes=self.publisher.outcomes,
            dead_letters=self.publisher.dead_letters,
            invalid_objects=self.invalid.count if self.invalid else 0,
            parked=self.publisher.parked,
            released=self.publisher.released,
            scratch_problems=tuple(self.delivery.scratch_problems),
        )

    def latest(self) -> Sequence[CreativeReady]:
        """See View."""
        return self.publisher.latest

    async def check_store(self) -> None:
        """See View."""
        if self.store is not None:
            await self.store.check()

    async def fetch_picture(self, uri: str) -> bytes | None:
        """See View."""
        if self.store is None or not uri.startswith(self.store.uri("")):
            return None
        return await self.store.get(uri.removeprefix(self.store.uri("")), _PICTURE_BYTES)


def unready_reasons(state: WorkerState) -> list[str]:
    """Return the reasons why a worker in this state cannot work, one sentence each; an empty list if it can."""
    reasons: list[str] = []
    if state.main_loop_silence > state.stall / 2:
        reasons.append(f"The main loop has not moved for {state.main_loop_silence:.0f} s.")
    if state.draining:
        reasons.append("The worker is shutting down.")
    if state.device_process.state not in {"idle", "busy"}:
        detail = f": {state.device_process.error_message}" if state.device_process.error_message else "."
        reasons.append(f"The device process is {state.device_process.state}{detail}")
    if state.broker_unreachable > _GRACE:
        reasons.append(f"The broker has not answered for {state.broker_unreachable:.0f} s.")
    if state.training_process is not None and state.training_process.error_message:
        reasons.append(
            f"The training process is {state.training_process.state}: {state.training_process.error_message}"
        )
    reasons += state.scratch_problems
    if not state.joined:
        reasons.append("The consumer group has not assigned partitions yet.")
    return reasons
