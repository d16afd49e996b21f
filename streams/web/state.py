"""What the pages show: the worker's state at one moment, and the view that collects it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol

from schemas.events import CreativeReady
from streams.device.client import DeviceClient
from streams.device.status import DeviceStatus
from streams.kafka.in_flight import InFlightEvents
from streams.kafka.lag import LagProbe
from streams.kafka.ledger import Partition
from streams.kafka.publisher import worker_version
from streams.settings import Settings
from streams.store.protocol import ObjectStore
from streams.watchdog import Watchdog
from streams.web.tally import Tally


@dataclass(frozen=True)
class WorkerState:
    """A worker at one moment.

    silence: seconds since the main loop moved; stall: seconds after which it counts as blocked.
    lane: the device process; school: the second one, for products, of a worker of both roles; it starts with the first.
    joined: whether the group has given us partitions yet, be it none. lag: messages behind, per partition, as far as
    known. broker_away: seconds since the broker last answered, 0 while it does. oldest_event: age in seconds of the
    oldest unfinished event. counts: outcomes by topic, dead letters by code.
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
    lag: Mapping[str, int] = field(default_factory=dict)
    broker_unreachable: float = 0.0
    events: int = 0
    oldest_event: float = 0.0
    device: str | None = None
    recipe: str | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)

    @property
    def device_processes(self) -> dict[str, DeviceStatus]:
        """The device processes by what they do, `render` or `train`; a second one that was never asked for is none."""
        device_processes = {"train" if self.role == "train" else "render": self.device_process}
        if self.training_process is not None and (
            self.training_process.state != "stopped" or self.training_process.error_message
        ):
            device_processes["train"] = self.training_process
        return device_processes


class View(Protocol):
    """What the pages show."""

    def state(self) -> WorkerState:
        """Return the worker's state, at no cost."""
        ...

    def latest(self) -> Sequence[CreativeReady]:
        """Return the latest creatives, newest first."""
        ...

    async def check_store(self) -> None:
        """Return where the store answers. Raises StoreUnavailable or StoreRefused."""
        ...


@dataclass
class WorkerView:
    """The view of a running worker. The runtime sets the fields that have a default as they change.

    store: None before it was opened. loaded: the models are loaded and events are handled.
    assigned: None while the consumer group has assigned nothing yet, and during a rebalance.
    """

    settings: Settings
    _: KW_ONLY
    device: DeviceClient
    training_device: DeviceClient | None
    in_flight: Sequence[InFlightEvents]
    watchdog: Watchdog
    lag: LagProbe
    tally: Tally
    store: ObjectStore | None = None
    loaded: bool = False
    draining: bool = False
    assigned: frozenset[Partition] | None = None

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
            device=ready.device if ready else None,
            recipe=ready.recipe.fingerprint if ready else None,
            outcomes=self.tally.outcomes,
            dead_letters=self.tally.dead_letters,
        )

    def latest(self) -> Sequence[CreativeReady]:
        """See View."""
        return self.tally.latest

    async def check_store(self) -> None:
        """See View."""
        if self.store is not None:
            await self.store.check()


def unready(state: WorkerState) -> list[str]:
    """Return why a worker in this state cannot do work, one reason a line; nothing where it can."""
    reasons: list[str] = []
    if state.main_loop_silence > state.stall / 2:
        reasons.append(f"The main loop has not moved for {state.main_loop_silence:.0f} s.")
    if state.draining:
        reasons.append("The worker is shutting down.")
    if state.device_process.state not in {"idle", "busy"}:
        error_message = f": {state.device_process.error_message}" if state.device_process.error_message else "."
        reasons.append(f"The device process is {state.device_process.state}{error_message}")
    if state.broker_unreachable:
        reasons.append(f"The broker has not answered for {state.broker_unreachable:.0f} s.")
    if state.training_process is not None and state.training_process.error_message:
        reasons.append(
            f"The device process for products is {state.training_process.state}: {state.training_process.error_message}"
        )
    if not state.joined:
        reasons.append("The consumer group has not assigned partitions yet.")
    return reasons
