"""Floods of connections over real sockets: each listener holds a bounded number, and the probes answer."""
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from schemas.events import CreativeReady
from streams.web import connections
from streams.web.server import WebServer
from streams.web_settings import WebSettings
from tests.streams.web.fake_view import FakeView, rendered_outcome

HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str, bytes], Awaitable[Opened]]


@pytest.fixture
async def server(view: FakeView) -> AsyncIterator[WebServer]:
    found = WebServer(view, WebSettings(port=0, gallery_port=0))
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Return a function that connects to an address and sends some bytes."""
    opened: list[Opened] = []

    async def connected(address: str, sent: bytes) -> Opened:
        reader, writer = await asyncio.open_connection(urlsplit(address).hostname, urlsplit(address).port)
        opened.append((reader, writer))
        writer.write(sent)
        return reader, writer

    yield connected
    for _, writer in opened:
        writer.transport.abort()


async def is_closed(opened: Opened) -> bool:
    try:
        async with asyncio.timeout(0.02):
            return await opened[0].read(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("listener", ["address", "gallery_address"])
async def test_half_open_connections_keep_no_probe_out(server: WebServer, connect: Connect, listener: str) -> None:
    opened = [await connect(getattr(server, listener), HALF) for _ in range(connections.LIMIT + 40)]
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=1.0) as client:
        for _ in range(3):
            assert (await client.get("/health/live")).status_code == 200
    assert all([await is_closed(each) for each in opened[:40]]), "the oldest give way"
    assert not await is_closed(opened[-1])


async def test_a_connection_whose_request_is_not_complete_in_time_is_closed(
    server: WebServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.05)
    opened = await connect(server.address, HALF)
    async with asyncio.timeout(2):
        while not await is_closed(opened):
            opened[1].write(b"x")  # bytes of a header do not extend the deadline


async def test_a_connection_whose_answer_is_not_ready_in_time_is_closed(
    server: WebServer, view: FakeView, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(view, "check_store", never)
    opened = await connect(server.address, b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(2):
        while not await is_closed(opened):
            pass


async def test_an_answer_that_is_not_read_in_time_is_cut_off(
    server: WebServer, view: FakeView, connect: Connect, tmp_path: Path
) -> None:
    """The test calls what the deadline calls: on a busy machine the deadline might come before the answer."""
    creative = CreativeReady.model_validate_json((await rendered_outcome(tmp_path)).value)
    picture = bytes(32 * 2**20)  # more than the sockets buffer
    view.creatives, view.pictures = [creative], {creative.images[0].s3_uri: picture}
    request = f"GET /pictures/{creative.images[0].sha256} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    reader, _ = await connect(server.gallery_address, request)
    received = await reader.read(1)
    assert server._gallery is not None
    held = server._gallery._connections
    [transport] = held._serving
    held._abort(transport)
    with suppress(ConnectionError):
        while chunk := await reader.read(2**20):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert len(received) < len(picture), "the rest was not sent"


async def test_a_reader_that_is_gone_costs_no_further_work(
    server: WebServer, view: FakeView, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    creative = CreativeReady.model_validate_json((await rendered_outcome(tmp_path)).value)
    view.creatives = [creative]
    fetched: list[str] = []
    given_up: list[str] = []

    async def fetch_picture(uri: str) -> bytes | None:
        fetched.append(uri)
        try:
            await asyncio.Event().wait()
        finally:
            given_up.append(uri)

    monkeypatch.setattr(view, "fetch_picture", fetch_picture)
    request = f"GET /pictures/{creative.images[0].sha256} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    opened = [await connect(server.gallery_address, request) for _ in range(12)]
    async with asyncio.timeout(2):
        while len(fetched) < 4:
            await asyncio.sleep(0.01)
        for _, writer in reversed(opened):
            writer.transport.abort()
        while len(given_up) < 4:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(given_up) == len(fetched)


async def test_a_connection_serves_one_request(server: WebServer, connect: Connect) -> None:
    reader, _ = await connect(server.address, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    async with asyncio.timeout(2):
        assert (await reader.read()).count(b"HTTP/1.1 200") == 1
