"""The worker's end of the pipe to the device process, as asyncio streams.

The child's end is a `multiprocessing.connection.Connection`, so this end uses the same format: the length of a message,
then its bytes. The length is a signed big-endian integer of four bytes; from 2 GiB on it is -1 and eight more bytes.
A thread around a second `Connection` would have to wake the event loop for each message, which would delay every event.
"""

from __future__ import annotations

import asyncio
import socket
import struct

_READ_AHEAD = 2**20  # bytes; asyncio pauses the socket at twice as many until the reader has caught up


class FramedPipe:
    """Sends and receives whole messages. One task receives; `send` never waits."""

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._closed = False

    async def open(self, end: socket.socket) -> None:
        """Take over a connected socket."""
        self._reader, self._writer = await asyncio.open_connection(sock=end, limit=_READ_AHEAD)

    def send(self, content: bytes) -> None:
        """Send one message in the background. The message is dropped if the pipe is not open."""
        if self._writer is not None and not self._writer.is_closing():
            size = len(content)
            length = struct.pack("!i", size) if size < 2**31 else struct.pack("!iQ", -1, size)
            self._writer.write(length + content)

    async def receive(self) -> bytes | None:
        """Return the next message, or None once either end has closed the pipe. An incomplete message is dropped."""
        if self._reader is None or self._closed:
            return None
        try:
            (size,) = struct.unpack("!i", await self._reader.readexactly(4))
            if size == -1:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):  # the child died, perhaps in the middle of a message
            return None

    def close(self) -> None:
        """Close at once, and drop all unread and unsent messages."""
        self._closed = True
        if self._writer is not None:
            self._writer.transport.abort()
