"""The worker's state as Prometheus metrics: read at each scrape, so nothing has to be kept in step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import nan
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from streams.web import WorkerState

_GAUGES: dict[str, tuple[str, Callable[[WorkerState], float]]] = {
    "main_loop_silence_seconds": ("since the main loop moved", lambda state: state.silence),
    "assigned_partitions": ("given to this worker", lambda state: len(state.assigned)),
    "events_in_flight": ("taken and not yet settled", lambda state: state.events),
    "lag": (
        "messages behind, over all assigned partitions; NaN while the broker is away",
        lambda state: nan if state.broker_away else sum(state.lag.values()),
    ),
    "broker_away_seconds": ("since the broker last answered, 0 while it does", lambda state: state.broker_away),
    "device_up": ("1 while the device process is loaded", lambda state: state.lane.state in {"idle", "busy"}),
    "device_queue": ("jobs waiting for the device", lambda state: state.lane.queued),
    "device_running": ("jobs on the device", lambda state: len(state.lane.running)),
    "oldest_job_seconds": (
        "age of the oldest unfinished event or job, one that waits for its next attempt too",
        lambda state: max(state.oldest_event, state.lane.oldest_seconds),
    ),
}


class StateCollector(Collector):
    """Names are `creatives_<name>`."""

    def __init__(self, state: Callable[[], WorkerState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the present state."""
        state = self._state()
        for name, (meaning, value) in _GAUGES.items():
            yield GaugeMetricFamily(f"creatives_{name}", meaning, value=float(value(state)))
        for name, meaning, count in (
            ("device_restarts", "device processes lost", state.lane.restarts),
            ("device_jobs", "jobs the device has answered", state.lane.finished),
        ):
            yield CounterMetricFamily(f"creatives_{name}", meaning, value=count)
        outcomes = CounterMetricFamily("creatives_outcomes", "published and confirmed", labels=["topic"])
        for topic, count in state.outcomes.items():
            outcomes.add_metric([topic.replace("_", "-")], count)
        yield outcomes
        letters = CounterMetricFamily("creatives_dead_letters", "written and confirmed", labels=["code"])
        for code, count in state.dead_letters.items():
            letters.add_metric([code], count)
        yield letters
