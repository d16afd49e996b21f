"""The worker's pages over real HTTP."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.events import CreativeReady, SegmentUpdated, Source
from streams.device.status import DeviceStatus
from streams.failures import PortTaken, StoreUnavailable
from streams.messages import Outcome, RawEvent
from streams.requests import Tools
from streams.segments.prompting import Prompter
from streams.segments.render import render_segment
from streams.settings import DEFAULT_WEB_PORT, Settings, WebSettings
from streams.web.server import Web
from streams.web.state import WorkerState, unready
from streams.web.tally import Tally
from tests import fakes

IDLE = DeviceStatus("idle", 1, 0, 0, (), 0.0, 3)
STATE = WorkerState("all", "0.1", 0.01, 60.0, IDLE, joined=True, device="cpu", assigned=("segment-updated[0]",))
SOURCE = Source(topic="segment-updated", partition=0, offset=0)


class FakeView:
    def __init__(self) -> None:
        self.now = STATE
        self.creatives: list[CreativeReady] = []
        self.store: Exception | None = None

    def state(self) -> WorkerState:
        return self.now

    def latest(self) -> list[CreativeReady]:
        return self.creatives

    async def check_store(self) -> None:
        if self.store is not None:
            raise self.store


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
async def client(view: FakeView) -> AsyncIterator[httpx.AsyncClient]:
    web = Web(view, WebSettings(port=0))
    async with httpx.AsyncClient(base_url=await web.start(), trust_env=False) as client:
        yield client
    await web.stop()


async def made(tmp_path: Path, name: str = "coffee enthusiast", segment_id: str = "coffee") -> Outcome:
    prompter = Prompter(fakes.WordCount.save(tmp_path), 77, "blurry")
    tools = Tools(fakes.FakeDevice(), fakes.MemoryStore(), prompter, Settings())
    event = SegmentUpdated.model_validate(
        {"event_id": segment_id, "occurred_at": "2026-11-23T10:00:00Z", "segment_id": segment_id, "name": name}
    )
    outcome = await render_segment(event, SOURCE, tools)
    assert outcome is not None
    return outcome


async def test_a_healthy_worker(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/health/live"), await client.get("/health/ready")
    assert (live.status_code, live.json()["live"]) == (200, True)
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})


async def test_a_blocked_loop_is_not_alive(client: httpx.AsyncClient, view: FakeView) -> None:
    view.now = replace(STATE, main_loop_silence=61.0)
    assert (await client.get("/health/live")).status_code == 503


async def test_an_absent_store_makes_unready_and_says_why(client: httpx.AsyncClient, view: FakeView) -> None:
    view.store = StoreUnavailable(endpoint="http://store", detail="Connection refused")
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == [str(view.store)]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (replace(STATE, main_loop_silence=31.0), "The main loop has not moved for 31 s."),
        (replace(STATE, draining=True), "The worker is shutting down."),
        (replace(STATE, broker_unreachable=41.0), "The broker has not answered for 41 s."),
        (replace(STATE, joined=False), "The consumer group has not assigned partitions yet."),
        (replace(STATE, device_process=replace(IDLE, state="loading")), "The device process is loading."),
        (replace(STATE, device_process=replace(IDLE, state="restarting", error_message="no weights")),
         "The device process is restarting: no weights"),
    ],
)  # fmt: skip
def test_reasons(state: WorkerState, reason: str) -> None:
    assert unready(state) == [reason]


def test_a_second_device_process_that_was_not_asked_for_yet_is_no_trouble() -> None:
    stopped = replace(IDLE, state="stopped")
    assert unready(replace(STATE, training_process=stopped)) == []
    assert unready(replace(STATE, training_process=replace(stopped, error_message="no memory"))) == [
        "The device process for products is stopped: no memory"
    ]


def test_an_idle_spare_is_ready() -> None:
    assert unready(replace(STATE, assigned=())) == []


async def test_status_is_for_programs(client: httpx.AsyncClient, view: FakeView) -> None:
    view.now = replace(
        STATE, device_process=replace(IDLE, state="busy", stage="generate", done=3, total=20, running=("r1",))
    )
    view.now = replace(view.now, outcomes=Counter(creative_ready=5), dead_letters=Counter(invalid_event=2))
    status = (await client.get("/status")).json()
    assert status["device_process"]["stage"] == "generate"
    assert (
        status["device_process"]["done"],
        status["device_process"]["total"],
        status["device_process"]["running"],
    ) == (3, 20, ["r1"])
    assert status["assigned"] == ["segment-updated[0]"]
    assert (status["outcomes"], status["dead_letters"]) == ({"creative_ready": 5}, {"invalid_event": 2})


async def test_metrics(client: httpx.AsyncClient, view: FakeView) -> None:
    view.now = replace(
        STATE,
        outcomes={"creative_ready": 5},
        dead_letters={"invalid_event": 2},
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
    assert samples[("creatives_lag",)] == 7
    assert samples[("creatives_device_up", "render")] == 1
    assert samples[("creatives_device_jobs_total", "render")] == 3
    assert not any("train" in key for key in samples)
    assert samples[("creatives_oldest_event_seconds",)] == 90, "an event that waits for its next attempt counts"
    view.now = replace(view.now, broker_unreachable=41.0)
    text = (await client.get("/metrics")).text
    assert "creatives_lag NaN" in text, "a lag nobody knows is not 0"
    assert "creatives_broker_unreachable_seconds 41.0" in text


async def test_the_second_device_process_is_seen_too(client: httpx.AsyncClient, view: FakeView) -> None:
    learning = replace(IDLE, state="busy", stage="train", done=30, total=120, running=("p1",))
    view.now = replace(STATE, training_process=learning)
    status = (await client.get("/status")).json()
    assert (
        status["training_process"]["stage"],
        status["training_process"]["done"],
        status["training_process"]["running"],
    ) == ("train", 30, ["p1"])
    text = (await client.get("/metrics")).text
    assert 'creatives_device_running{process="train"} 1.0' in text
    assert 'creatives_device_running{process="render"} 0.0' in text
    assert 'creatives_device_done{process="train"} 0.25' in text
    view.now = replace(STATE, role="train", device_process=learning)
    assert 'creatives_device_running{process="train"} 1.0' in (await client.get("/metrics")).text


async def test_the_gallery_shows_creatives(client: httpx.AsyncClient, view: FakeView, tmp_path: Path) -> None:
    assert "Nothing has been made yet" in (await client.get("/")).text
    creative = CreativeReady.model_validate_json((await made(tmp_path)).value)
    image = creative.images[0].model_copy(update={"url": "http://store/creatives/1.png?a=1&b=2"})
    view.creatives = [creative.model_copy(update={"images": (image,)})]
    page = await client.get("/gallery")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<img src="http://store/creatives/1.png?a=1&amp;b=2"' in page.text
    assert "an advertising photo of coffee enthusiast" in page.text
    assert "CLIP 0.207" in page.text


async def test_nothing_in_an_event_becomes_markup(client: httpx.AsyncClient, view: FakeView, tmp_path: Path) -> None:
    creative = CreativeReady.model_validate_json((await made(tmp_path)).value)
    evil = "\"><script>alert(1)</script>'"
    image = creative.images[0].model_copy(update={"url": "javascript:alert(1)"})
    view.creatives = [
        creative.model_copy(
            update={
                "prompt": evil,
                "negative_prompt": evil,
                "rationale": (evil,),
                "segment_id": evil,
                "images": (image,),
            }
        )
    ]
    page = await client.get("/gallery")
    assert "<script" not in page.text
    assert "javascript:" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


async def test_no_gallery_where_it_is_switched_off(view: FakeView) -> None:
    web = Web(view, WebSettings(port=0, gallery=False))
    async with httpx.AsyncClient(base_url=await web.start(), trust_env=False) as client:
        assert (await client.get("/gallery")).status_code == 404
        assert (await client.get("/status")).status_code == 200
    await web.stop()


async def test_two_workers_on_one_machine_both_start(view: FakeView) -> None:
    webs = [Web(view, WebSettings()), Web(view, WebSettings())]
    addresses = [await web.start() for web in webs]
    assert len(set(addresses)) == 2
    for web in webs:
        await web.stop()


async def test_a_taken_port_set_by_hand_is_an_error(view: FakeView) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PortTaken, match=rf"Cannot serve on 127.0.0.1:{port}: address already in use. Set CREATIVES"
        ):
            await Web(view, WebSettings(port=port)).start()
    assert DEFAULT_WEB_PORT == 6066


async def test_the_tally_counts_what_is_confirmed(tmp_path: Path) -> None:
    class Inner:
        down = False

        async def publish(self, outcome: Outcome) -> None:
            if self.down:
                raise ConnectionError

        async def dead_letter(self, raw: RawEvent, attempts: int, code: str, message: str) -> None: ...

    inner = Inner()
    tally = Tally(inner)
    first, second = await made(tmp_path), await made(tmp_path, segment_id="other")
    for outcome in (first, second, first):
        await tally.publish(outcome)
    await tally.publish(Outcome("creative_ready", b"k", b'{"of": "another version"}'))
    await tally.dead_letter(RawEvent(SOURCE, None, None), 1, "invalid_event", "x")
    inner.down = True
    with pytest.raises(ConnectionError):
        await tally.publish(first)
    assert tally.outcomes == {"creative_ready": 4}, "what the gallery cannot read has been delivered all the same"
    assert tally.dead_letters == {"invalid_event": 1}
    assert [creative.segment_id for creative in tally.latest] == ["other", "coffee"]
    shown = json.loads(json.dumps(asdict(replace(STATE, outcomes=tally.outcomes, dead_letters=tally.dead_letters))))
    assert (shown["outcomes"], shown["dead_letters"]) == ({"creative_ready": 4}, {"invalid_event": 1})
