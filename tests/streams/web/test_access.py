"""Host names and tokens over real HTTP."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from streams.web.server import WebServer
from streams.web_settings import WebSettings
from tests.streams.web.fake_view import FakeView

TOKEN = "pąss:word"


@pytest.fixture
async def named(view: FakeView) -> AsyncIterator[httpx.AsyncClient]:
    server = WebServer(view, WebSettings(port=0, gallery=False, allowed_hosts=("creatives.example",)))
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        yield client
    await server.stop()


@pytest.fixture
async def locked(view: FakeView) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    server = WebServer(view, WebSettings.model_validate({"port": 0, "gallery_port": 0, "token": TOKEN}))
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        yield client, server.gallery_address
    await server.stop()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:6066", "localhost.evil.example", "127.0.0.1.nip.io", "["]
)
async def test_a_foreign_host_name_is_refused(client: httpx.AsyncClient, host: str) -> None:
    for path in ("/status", "/health/live", "/no-such-page"):
        refused = await client.get(path, headers={"Host": host})
        assert refused.status_code == 421
        assert "CREATIVES_WEB__ALLOWED_HOSTS" in refused.text


@pytest.mark.parametrize("host", ["10.1.2.3:6066", "localhost:1", "LOCALHOST", "[::1]:6066", "Creatives.example.", ""])
async def test_addresses_loopback_and_configured_names_are_answered(named: httpx.AsyncClient, host: str) -> None:
    assert (await named.get("/status", headers={"Host": host})).status_code == 200


async def test_a_token_locks_everything_but_the_probes(locked: tuple[httpx.AsyncClient, str]) -> None:
    client, gallery = locked
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for path in ("/status", "/metrics", f"{gallery}/", f"{gallery}/pictures/{'0' * 64}"):
        for wrong in (None, "Bearer wrong", "Bearer", "Basic ???", "Basic " + base64.b64encode(b"a:b").decode()):
            answer = await client.get(path, headers={"Authorization": wrong} if wrong else {})
            assert answer.status_code == 401, (path, wrong)
            assert answer.headers["www-authenticate"].startswith("Basic ")
        for right in (f"Bearer {TOKEN}".encode(), f"Basic {basic}".encode()):
            answer = await client.get(path, headers=[(b"Authorization", right)])
            assert answer.status_code in {200, 404}, (path, right)
    for probe in ("/health/live", "/health/ready"):
        assert (await client.get(probe)).status_code == 200


async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/status", "/metrics", "/no-such-page"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert "Python" not in headers["server"]
