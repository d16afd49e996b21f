"""The device process's end of the pipe: blocking, and without asyncio. `streams.device.pipe` is the worker's end."""

from __future__ import annotations

import select
import socket
from typing import Any

from models.wire_format import PREFIX, TO_DEVICE, check_sizes, decode, encode


class Connection:
    """Sends and receives whole messages over a connected socket. accepted: kinds of messages that this end reads."""

    def __init__(self, end: socket.socket, accepted: frozenset[str] = TO_DEVICE) -> None:
        self._socket = end
        self._accepted = accepted

    def send(self, message: object) -> None:
        """Send one message. Raises InvalidMessage, or OSError if the other end is closed."""
        for piece in encode(message):
            self._socket.sendall(piece)

    def recv(self) -> Any:
        """Wait for the next message. Raises EOFError if the other end is closed, InvalidMessage, OSError."""
        sizes = PREFIX.unpack(self._receive(PREFIX.size))
        check_sizes(*sizes)
        header, blobs = map(self._receive, sizes)
        return decode(bytes(header), blobs, self._accepted)

    def poll(self, seconds: float = 0.0) -> bool:
        """Return whether `recv` would find something within `seconds`: a message, or the end of the pipe."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _receive(self, size: int) -> bytearray:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]
        return content
