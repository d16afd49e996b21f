"""The fault proxy in front of an echo server."""

import asyncio
import contextlib

import pytest

from tests.faults.proxy import FaultProxy


async def ask(port):
    """Send to an echo server behind the proxy; return its answer, or None if the connection is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"hello")
        return await asyncio.wait_for(reader.read(200), 0.5) or None
    except ConnectionError:
        return None
    finally:
        writer.transport.abort()


async def test_each_mode_of_the_proxy():
    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(100):
                writer.write(chunk)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        assert await ask(proxy.port) == b"hello"
        proxy.set(latency=0.1)
        start = asyncio.get_running_loop().time()
        assert await ask(proxy.port) == b"hello"
        assert asyncio.get_running_loop().time() - start >= 0.2
        proxy.set(mode="refuse")
        assert await ask(proxy.port) is None
        proxy.set(mode="silent")
        with pytest.raises(TimeoutError):
            await ask(proxy.port)
        proxy.set(mode="unavailable")
        assert (await ask(proxy.port)).startswith(b"HTTP/1.1 503")
        proxy.set(cut_after=2)
        assert await ask(proxy.port) in {None, b"he"}
        assert proxy.faults >= 5
        proxy.set()
        assert await ask(proxy.port) == b"hello"
    await asyncio.sleep(0.05)  # the echo server notices the end of its connections
