"""A TCP proxy on loopback that injects faults of a network and of a failing store."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Self

Mode = Literal["pass", "refuse", "silent", "unavailable"]
_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class FaultProxy:
    """Forwards 127.0.0.1:port to 127.0.0.1:target.

    mode: `pass`; `refuse` closes connections at once; `silent` reads everything and answers nothing;
    `unavailable` answers each HTTP request with 503. latency: seconds added to every chunk in each direction.
    cut_after: the number of bytes from a client after which the connection is cut; None for no limit.
    faults: the number of connections and chunks that were disturbed.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.mode: Mode = "pass"
        self.latency = 0.0
        self.cut_after: int | None = None
        self.faults = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving, timeout=5)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in list(self._writers):
            self.faults += 1
            writer.transport.abort()

    def set(self, mode: Mode = "pass", latency: float = 0.0, cut_after: int | None = None) -> None:
        """Change the behaviour, also of open connections."""
        self.mode, self.latency, self.cut_after = mode, latency, cut_after
        if mode != "pass":
            self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._handle(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode != "pass":
            self.faults += 1
        if self.mode == "refuse":
            return
        if self.mode == "silent":
            while await reader.read(65536):
                pass
            return
        if self.mode == "unavailable":
            await reader.read(65536)
            writer.write(_UNAVAILABLE)
            await writer.drain()
            return
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(behind_writer)
        up = asyncio.create_task(self._pump(reader, behind_writer, upstream=True))
        down = asyncio.create_task(self._pump(behind_reader, writer, upstream=False))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            self._writers.discard(behind_writer)
            behind_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upstream: bool) -> None:
        passed = 0
        while chunk := await reader.read(65536):
            if self.mode != "pass":
                self.faults += 1
                if self.mode == "silent":
                    continue
                return
            if self.latency:
                self.faults += 1
                await asyncio.sleep(self.latency)
            passed += len(chunk)
            if upstream and self.cut_after is not None and passed > self.cut_after:
                self.faults += 1
                writer.write(chunk[: max(0, len(chunk) - (passed - self.cut_after))])
                return
            writer.write(chunk)
            await writer.drain()
