"""The worker's end of the pipe to the device process, as asyncio streams. `models.wire_format` defines the frames.

A thread around a blocking connection would have to wake the event loop for each message, which would delay every event.
"""

from __future__ import annotations

import asyncio
import socket

from models.wire_format import PREFIX, InvalidMessage, check_sizes

_READ_AHEAD = 2**20  # bytes; asyncio pauses the socket at twice as many until the reader has caught up


class FramedPipe:
    """Sends and receives whole frames. One task receives; `send` never waits.

    awaits_blobs: whether frames may hold blobs. One that may not is refused before its blobs take memory.
    """

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._closed = False
        self.awaits_blobs = True

    async def open(self, end: socket.socket) -> None:
        """Take over a connected socket."""
        self._reader, self._writer = await asyncio.open_connection(sock=end, limit=_READ_AHEAD)

    def send(self, frame: list[bytes]) -> None:
        """Send one frame in the background. The frame is dropped if the pipe is not open."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.writelines(frame)

    async def receive(self) -> tuple[bytes, bytes] | None:
        """Return header and blobs of the next frame, or None once either end has closed the pipe.

        An incomplete frame is dropped. Raises InvalidMessage for one that exceeds the limits.
        """
        if self._reader is None or self._closed:
            return None
        try:
            sizes = PREFIX.unpack(await self._reader.readexactly(PREFIX.size))
            check_sizes(*sizes)
            if sizes[1] and not self.awaits_blobs:
                raise InvalidMessage(f"blobs of {sizes[1]} bytes, which no job awaits")
            return await self._reader.readexactly(sizes[0]), await self._reader.readexactly(sizes[1])
        except (asyncio.IncompleteReadError, OSError):  # the child died, perhaps in the middle of a message
            return None

    def close(self) -> None:
        """Close at once, and drop all unread and unsent frames."""
        self._closed = True
        if self._writer is not None:
            self._writer.transport.abort()
