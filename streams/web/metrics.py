"""The worker's state as Prometheus metrics: read at each scrape, so nothing has to be kept in step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import nan

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.device.status import DeviceStatus
from streams.web.state import WorkerState

_GAUGES: dict[str, tuple[str, Callable[[WorkerState], float]]] = {
    "main_loop_silence_seconds": ("since the main loop moved", lambda state: state.main_loop_silence),
    "assigned_partitions": ("given to this worker", lambda state: len(state.assigned)),
    "events_in_flight": ("taken and not yet settled", lambda state: state.events),
    "lag": (
        "messages behind, over all assigned partitions; NaN while the broker is away",
        lambda state: nan if state.broker_unreachable else sum(state.lag.values()),
    ),
    "broker_unreachable_seconds": (
        "since the broker last answered, 0 while it does",
        lambda state: state.broker_unreachable,
    ),
    "oldest_event_seconds": (
        "age of the oldest unfinished event, one that waits for its next attempt too",
        lambda state: state.oldest_event,
    ),
}
_LANE_GAUGES: dict[str, tuple[str, Callable[[DeviceStatus], float]]] = {
    "device_up": (
        "1 while the device process is loaded",
        lambda device_process: device_process.state in {"idle", "busy"},
    ),
    "device_queue": ("jobs waiting for the device", lambda device_process: device_process.queued),
    "device_running": ("jobs on the device", lambda device_process: len(device_process.running)),
    "device_done": (
        "share of the running job's stage that is done",
        lambda device_process: device_process.done / max(1, device_process.total),
    ),
    "oldest_job_seconds": (
        "age of the oldest unfinished job of the device",
        lambda device_process: device_process.oldest_seconds,
    ),
}
_LANE_COUNTERS: dict[str, tuple[str, Callable[[DeviceStatus], float]]] = {
    "device_restarts": ("device processes lost", lambda device_process: device_process.restarts),
    "device_jobs": ("jobs the device has answered", lambda device_process: device_process.finished),
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
        yield from _of_lanes(GaugeMetricFamily, _LANE_GAUGES, state.device_processes)
        yield from _of_lanes(CounterMetricFamily, _LANE_COUNTERS, state.device_processes)
        outcomes = CounterMetricFamily("creatives_outcomes", "published and confirmed", labels=["topic"])
        for topic, count in state.outcomes.items():
            outcomes.add_metric([topic.replace("_", "-")], count)
        yield outcomes
        letters = CounterMetricFamily("creatives_dead_letters", "written and confirmed", labels=["code"])
        for code, count in state.dead_letters.items():
            letters.add_metric([code], count)
        yield letters


def _of_lanes(
    family: type[GaugeMetricFamily | CounterMetricFamily],
    meanings: dict[str, tuple[str, Callable[[DeviceStatus], float]]],
    device_processes: dict[str, DeviceStatus],
) -> Iterator[Metric]:
    for name, (meaning, value) in meanings.items():
        metric = family(f"creatives_{name}", meaning, labels=["process"])
        for device_process, status in device_processes.items():
            metric.add_metric([device_process], float(value(status)))
        yield metric
