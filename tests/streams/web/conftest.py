from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from streams.web.server import WebServer
from streams.web_settings import WebSettings
from tests.streams.web.fake_view import FakeView


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
async def client(view: FakeView) -> AsyncIterator[httpx.AsyncClient]:
    server = WebServer(view, WebSettings(port=0, gallery=False))
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        yield client
    await server.stop()


@pytest.fixture
async def gallery(view: FakeView) -> AsyncIterator[httpx.AsyncClient]:
    server = WebServer(view, WebSettings(port=0, gallery_port=0))
    await server.start()
    async with httpx.AsyncClient(base_url=server.gallery_address, trust_env=False) as client:
        yield client
    await server.stop()
