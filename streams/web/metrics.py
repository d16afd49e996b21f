"""The worker's state as Prometheus metrics, computed at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import nan

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from streams.device.status import DeviceStatus
from streams.web.state import WorkerState

_GAUGES: dict[str, tuple[str, Callable[[WorkerState], float]]] = {
    "main_loop_silence_seconds": (
        "Seconds since the last tick of the main loop.",
        lambda state: state.main_loop_silence,
    ),
    "assigned_partitions": ("Partitions assigned to this worker.", lambda state: len(state.assigned)),
    "events_in_flight": ("Events that were received and have no outcome yet.", lambda state: state.events),
    "lag": (
        "Unprocessed messages of all assigned partitions. NaN while unknown, as when the broker is unreachable.",
        lambda state: nan if state.lag is None else sum(state.lag.values()),
    ),
    "broker_unreachable_seconds": (
        "Seconds since the broker last answered. 0 while it answers.",
        lambda state: state.broker_unreachable,
    ),
    "products_in_training": (
        "Registrations that have no outcome yet, in training or waiting for it.",
        lambda state: state.products,
    ),
    "waiting_segments": (
        "Parked segments in the store, which wait for a product. NaN while unknown and on workers that do not train.",
        lambda state: nan if state.waiting_segments is None else state.waiting_segments,
    ),
    "oldest_event_seconds": (
        "Age of the oldest unfinished event in seconds, including events that wait for a retry.",
        lambda state: state.oldest_event,
    ),
}
_PROCESS_GAUGES: dict[str, tuple[str, Callable[[DeviceStatus], float]]] = {
    "device_up": (
        "1 while the models are loaded in the device process.",
        lambda status: status.state in {"idle", "busy"},
    ),
    "device_queue": ("Jobs in the queue of the device.", lambda status: status.queued),
    "device_running": ("Jobs that the device runs now.", lambda status: len(status.running)),
    "device_done": (
        "Finished share (0 to 1) of the running job's stage.",
        lambda status: status.done / max(1, status.total),
    ),
    "oldest_job_seconds": (
        "Age of the oldest unfinished job of the device in seconds.",
        lambda status: status.oldest_seconds,
    ),
}
_PROCESS_COUNTERS: dict[str, tuple[str, Callable[[DeviceStatus], float]]] = {
    "device_restarts": ("Device processes that died.", lambda status: status.restarts),
    "device_jobs": ("Jobs that the device has answered.", lambda status: status.finished),
}


class StateCollector(Collector):
    """Collects `creatives_<name>` metrics."""

    def __init__(self, state: Callable[[], WorkerState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the current state."""
        state = self._state()
        for name, (help_text, value) in _GAUGES.items():
            yield GaugeMetricFamily(f"creatives_{name}", help_text, value=float(value(state)))
        yield from _process_metrics(GaugeMetricFamily, _PROCESS_GAUGES, state.device_processes)
        yield from _process_metrics(CounterMetricFamily, _PROCESS_COUNTERS, state.device_processes)
        yield from _event_counters(state)
        yield _topic_lag(state.lag or {})
        yield _stage_seconds(state.device_processes)


def _event_counters(state: WorkerState) -> Iterator[Metric]:
    outcomes = CounterMetricFamily("creatives_outcomes", "Outcomes that the broker confirmed.", labels=["topic"])
    for topic, count in state.outcomes.items():
        outcomes.add_metric([topic.replace("_", "-")], count)
    yield outcomes
    dead_letters = CounterMetricFamily(
        "creatives_dead_letters", "Dead letters that the broker confirmed.", labels=["code"]
    )
    for code, count in state.dead_letters.items():
        dead_letters.add_metric([code], count)
    yield dead_letters
    yield CounterMetricFamily(
        "creatives_invalid_objects",
        "Objects of the store that were ignored: not signed by this deployment, or not what their key promises.",
        value=state.invalid_objects,
    )
    for name, count, verb in (("parked", state.parked, "parked"), ("released", state.released, "sent again")):
        yield CounterMetricFamily(f"creatives_{name}_segments", f"Segments that this worker {verb}.", value=count)


def _topic_lag(lag: Mapping[str, int]) -> Metric:
    """Return the lag of each topic, without samples while it is unknown. lag: by `topic[number]`."""
    topics: dict[str, int] = {}
    for partition, count in lag.items():
        topic = partition.rpartition("[")[0]
        topics[topic] = topics.get(topic, 0) + count
    metric = GaugeMetricFamily(
        "creatives_topic_lag", "Unprocessed messages of the assigned partitions of a topic.", labels=["topic"]
    )
    for topic, count in topics.items():
        metric.add_metric([topic], count)
    return metric


def _stage_seconds(processes: dict[str, DeviceStatus]) -> Metric:
    metric = SummaryMetricFamily(
        "creatives_stage_seconds", "Time that batches spent in a stage of the device.", labels=["process", "stage"]
    )
    for process, status in processes.items():
        for stage, (batches, seconds) in status.stage_seconds.items():
            metric.add_metric([process, stage], count_value=batches, sum_value=seconds)
    return metric


def _process_metrics(
    family: type[GaugeMetricFamily | CounterMetricFamily],
    metrics: dict[str, tuple[str, Callable[[DeviceStatus], float]]],
    processes: dict[str, DeviceStatus],
) -> Iterator[Metric]:
    """Yield each metric with one sample per device process."""
    for name, (help_text, value) in metrics.items():
        metric = family(f"creatives_{name}", help_text, labels=["process"])
        for process, status in processes.items():
            metric.add_metric([process], float(value(status)))
        yield metric
