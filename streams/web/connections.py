"""The open connections of one listener: a limit on their number, and deadlines that no client can extend.

A connection serves one request. A client that opens connections without completing a request (slow loris) therefore
takes no file descriptors from Kafka and the object store, and keeps no other client out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

REQUEST_SECONDS = 5.0  # to send a complete request
ANSWER_SECONDS = 30.0  # to compute an answer and read it
LIMIT = 64  # open connections of one listener


class Connections:
    """The open connections, oldest first. At the limit, a new connection replaces the oldest without a request."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self._serving: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._serving)

    def guard(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return a factory of `make`'s protocols whose connections are counted and limited."""
        return lambda: _GuardedProtocol(make(), self)

    def opened(self, transport: asyncio.Transport) -> None:
        """Count a new connection and start the deadline of its request."""
        if len(self) >= self._limit:
            self._abort(next(iter(self._waiting or self._serving)))
        self._waiting[transport] = self._deadline(REQUEST_SECONDS, transport)

    def request_arrived(self, transport: asyncio.BaseTransport | None) -> None:
        """Start the deadline of the answer."""
        if transport is not None and (timer := self._waiting.pop(transport, None)):
            timer.cancel()
            self._serving[transport] = self._deadline(ANSWER_SECONDS, transport)

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Stop counting a connection. A second call does nothing."""
        for connections in (self._waiting, self._serving):
            if timer := connections.pop(transport, None):
                timer.cancel()

    def _deadline(self, seconds: float, transport: asyncio.BaseTransport) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._abort, transport)

    def _abort(self, transport: asyncio.BaseTransport) -> None:
        self.closed(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.abort()  # close() would wait until a slow reader has taken everything


class _GuardedProtocol(asyncio.Protocol):
    """Passes everything on to the protocol of the HTTP server, and reports the beginning and end of the connection."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.opened(transport)
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._connections.closed(self._transport)
        self._inner.connection_lost(error)
