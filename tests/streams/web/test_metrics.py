"""The worker's Prometheus metrics over real HTTP."""

from __future__ import annotations

from dataclasses import replace

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.streams.web.fake_view import IDLE, STATE, FakeView


async def test_metrics(client: httpx.AsyncClient, view: FakeView) -> None:
    view.current = replace(
        STATE,
        outcomes={"creative_ready": 5},
        dead_letters={"invalid_event": 2},
        invalid_objects=4,
        lag={"segment-updated[0]": 7},
        oldest_event=90.0,
        device_process=replace(IDLE, oldest_seconds=3.0),
    )
    text = (await client.get("/metrics")).text
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("creatives_outcomes_total", "creative-ready")] == 5
    assert samples[("creatives_dead_letters_total", "invalid_event")] == 2
    assert samples[("creatives_invalid_objects_total",)] == 4
    assert samples[("creatives_lag",)] == 7
    assert samples[("creatives_device_up", "render")] == 1
    assert samples[("creatives_device_jobs_total", "render")] == 3
    assert not any("train" in key for key in samples)
    assert samples[("creatives_oldest_event_seconds",)] == 90, "an event that waits for a retry counts"
    view.current = replace(view.current, broker_unreachable=41.0)
    text = (await client.get("/metrics")).text
    assert "creatives_lag NaN" in text, "an unknown lag is not 0"
    assert "creatives_broker_unreachable_seconds 41.0" in text
