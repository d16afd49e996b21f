"""The worker's health, status and gallery pages over real HTTP."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from schemas.events import CreativeReady
from streams.failures import PortTaken, StoreUnavailable
from streams.settings import DEFAULT_WEB_PORT, WebSettings
from streams.web.server import WebServer
from tests.streams.web.fake_view import IDLE, STATE, FakeView, rendered_outcome


async def test_a_healthy_worker_is_live_and_ready(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/health/live"), await client.get("/health/ready")
    assert (live.status_code, live.json()["live"]) == (200, True)
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})


async def test_a_blocked_main_loop_is_not_live(client: httpx.AsyncClient, view: FakeView) -> None:
    view.current = replace(STATE, main_loop_silence=61.0)
    assert (await client.get("/health/live")).status_code == 503


async def test_an_unavailable_store_is_a_reason_not_to_be_ready(client: httpx.AsyncClient, view: FakeView) -> None:
    view.store_error = StoreUnavailable(endpoint="http://store", detail="Connection refused")
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == [str(view.store_error)]


async def test_status_shows_progress_and_counts(client: httpx.AsyncClient, view: FakeView) -> None:
    view.current = replace(
        STATE, device_process=replace(IDLE, state="busy", stage="generate", done=3, total=20, running=("r1",))
    )
    view.current = replace(view.current, outcomes=Counter(creative_ready=5), dead_letters=Counter(invalid_event=2))
    status = (await client.get("/status")).json()
    assert status["device_process"]["stage"] == "generate"
    assert (
        status["device_process"]["done"],
        status["device_process"]["total"],
        status["device_process"]["running"],
    ) == (3, 20, ["r1"])
    assert status["assigned"] == ["segment-updated[0]"]
    assert (status["outcomes"], status["dead_letters"]) == ({"creative_ready": 5}, {"invalid_event": 2})


async def test_status_and_metrics_show_the_training_process(client: httpx.AsyncClient, view: FakeView) -> None:
    training = replace(IDLE, state="busy", stage="train", done=30, total=120, running=("p1",))
    view.current = replace(STATE, training_process=training)
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
    view.current = replace(STATE, role="train", device_process=training)
    assert 'creatives_device_running{process="train"} 1.0' in (await client.get("/metrics")).text


async def test_the_gallery_shows_creatives(client: httpx.AsyncClient, view: FakeView, tmp_path: Path) -> None:
    assert "No creatives yet" in (await client.get("/")).text
    creative = CreativeReady.model_validate_json((await rendered_outcome(tmp_path)).value)
    image = creative.images[0].model_copy(update={"url": "http://store/creatives/1.png?a=1&b=2"})
    view.creatives = [creative.model_copy(update={"images": (image,)})]
    page = await client.get("/gallery")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<img src="http://store/creatives/1.png?a=1&amp;b=2"' in page.text
    assert "an advertising photo of coffee, soft light" in page.text
    assert "CLIP 0.207" in page.text


async def test_the_gallery_escapes_event_text(client: httpx.AsyncClient, view: FakeView, tmp_path: Path) -> None:
    creative = CreativeReady.model_validate_json((await rendered_outcome(tmp_path)).value)
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


async def test_the_gallery_can_be_disabled(view: FakeView) -> None:
    server = WebServer(view, WebSettings(port=0, gallery=False))
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        assert (await client.get("/gallery")).status_code == 404
        assert (await client.get("/status")).status_code == 200
    await server.stop()


async def test_two_workers_on_one_machine_use_different_ports(view: FakeView) -> None:
    servers = [WebServer(view, WebSettings()), WebServer(view, WebSettings())]
    addresses = [await server.start() for server in servers]
    assert len(set(addresses)) == 2
    for server in servers:
        await server.stop()


async def test_a_taken_configured_port_is_an_error(view: FakeView) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PortTaken, match=rf"Cannot serve on 127.0.0.1:{port}: address already in use. Set CREATIVES"
        ):
            await WebServer(view, WebSettings(port=port)).start()
    assert DEFAULT_WEB_PORT == 6066
