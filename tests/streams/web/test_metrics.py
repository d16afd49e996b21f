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
        lag={"segment-updated[0]": 3, "segment-updated[1]": 4, "product-registered[0]": 2},
        oldest_event=90.0,
        device_process=replace(IDLE, oldest_seconds=3.0, stage_seconds={"generate": (2, 7.5)}),
        products=1,
        waiting_segments=12,
        parked=20,
        released=8,
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
    assert samples[("creatives_lag",)] == 9
    assert samples[("creatives_topic_lag", "segment-updated")] == 7
    assert samples[("creatives_topic_lag", "product-registered")] == 2
    assert samples[("creatives_stage_seconds_count", "render", "generate")] == 2
    assert samples[("creatives_stage_seconds_sum", "render", "generate")] == 7.5
    assert samples[("creatives_products_in_training",)] == 1
    assert samples[("creatives_waiting_segments",)] == 12
    assert samples[("creatives_parked_segments_total",)] == 20
    assert samples[("creatives_released_segments_total",)] == 8
    assert samples[("creatives_device_up", "render")] == 1
    assert samples[("creatives_device_jobs_total", "render")] == 3
    assert not any("train" in key for key in samples)
    assert samples[("creatives_oldest_event_seconds",)] == 90, "an event that waits for a retry counts"
    view.current = replace(view.current, lag=None, waiting_segments=None, broker_unreachable=41.0)
    text = (await client.get("/metrics")).text
    assert "creatives_lag NaN" in text, "an unknown lag is not 0"
    assert "creatives_topic_lag{" not in text
    assert "creatives_waiting_segments NaN" in text
    assert "creatives_broker_unreachable_seconds 41.0" in text
