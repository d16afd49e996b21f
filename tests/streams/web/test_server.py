"""The worker's health and status pages over real HTTP, and the addresses of both listeners."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from structlog.testing import capture_logs

from streams.failures import PortTaken, StoreUnavailable
from streams.web.server import WebServer
from streams.web_settings import DEFAULT_WEB_PORT, WebSettings
from tests.streams.web.fake_view import IDLE, STATE, FakeView


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


async def test_the_gallery_has_an_address_of_its_own_and_can_be_disabled(view: FakeView) -> None:
    for gallery in (True, False):
        server = WebServer(view, WebSettings(port=0, gallery_port=0, gallery=gallery))
        async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
            assert (await client.get("/gallery")).status_code == 404
            assert (await client.get("/status")).status_code == 200
            assert bool(server.gallery_address) == gallery
            if gallery:
                assert (await client.get(f"{server.gallery_address}/gallery")).status_code == 200
                assert (await client.get(f"{server.gallery_address}/status")).status_code == 404
        await server.stop()


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("0.0.0.0", None, True), ("0.0.0.0", "secret", False), ("127.0.0.1", None, False)],
)
async def test_an_open_gallery_is_announced(view: FakeView, host: str, token: str | None, warned: bool) -> None:
    settings = WebSettings.model_validate({"port": 0, "gallery_port": 0, "gallery_host": host, "token": token})
    server = WebServer(view, settings)
    with capture_logs() as lines:
        await server.start()
    await server.stop()
    assert any("everyone who reaches the gallery" in line["event"] for line in lines) == warned


async def test_readiness_probes_at_the_same_time_share_one_check_of_the_store(
    client: httpx.AsyncClient, view: FakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[int] = []
    all_asked = asyncio.Event()

    async def check_store() -> None:
        checks.append(1)
        await all_asked.wait()

    monkeypatch.setattr(view, "check_store", check_store)
    asked = [asyncio.create_task(client.get("/health/ready")) for _ in range(8)]
    await asyncio.sleep(0.1)
    all_asked.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert len(checks) == 1


async def test_two_workers_on_one_machine_use_different_ports(view: FakeView) -> None:
    servers = [WebServer(view, WebSettings()), WebServer(view, WebSettings())]
    addresses = [await server.start() for server in servers]
    assert len({*addresses, *(server.gallery_address for server in servers)}) == 4
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
        server = WebServer(view, WebSettings(port=0, gallery_port=port))
        with pytest.raises(PortTaken, match="Set CREATIVES_WEB__GALLERY_PORT"):
            await server.start()
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(trust_env=False).get(server.address)
    assert DEFAULT_WEB_PORT == 6066
