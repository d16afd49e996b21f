"""What a listener logs about requests, over real sockets."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.streams.web.fake_view import FakeView


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nBad\x1bName: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n\r\n",
    ],
)
async def test_a_request_that_is_not_http_gets_the_reason_and_no_line_in_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(request_bytes + b"\r\n\r\n")
    async with asyncio.timeout(2):
        assert b" 400 Bad Request" in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert not caplog.records


async def test_an_error_of_ours_is_logged(
    client: httpx.AsyncClient, view: FakeView, caplog: pytest.LogCaptureFixture
) -> None:
    view.store_error = RuntimeError("a bug")
    assert (await client.get("/health/ready")).status_code == 500
    assert any(record.exc_info for record in caplog.records)
