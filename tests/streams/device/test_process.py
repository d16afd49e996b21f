"""Our end of the device's pipe speaks the format of multiprocessing's own connections."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from multiprocessing.connection import Connection

import pytest

from streams.device.process import _Frames

SIZES = (0, 1, 3, 70_000, 5_000_000)
MESSAGES = [bytes([size % 251]) * size for size in SIZES]


@pytest.fixture
async def ends():
    """Our end and a list of what came out of it, and the child's end."""
    here, there = socket.socketpair()
    received: list[bytes] = []
    frames = _Frames(received.append)
    await asyncio.get_running_loop().create_connection(lambda: frames, sock=here)
    connection = Connection(there.detach())
    yield frames, received, connection
    frames.close()
    connection.close()


async def test_what_the_child_sends_arrives_whole_and_in_order(ends):
    frames, received, connection = ends
    for message in MESSAGES:
        await asyncio.to_thread(connection.send_bytes, message)
    connection.close()
    await asyncio.wait_for(frames.closed.wait(), 10)
    assert received == MESSAGES


async def test_what_we_send_waits_for_a_child_that_does_not_read_yet(ends):
    frames, _, connection = ends
    for message in MESSAGES:
        frames.send(message)  # five megabytes fit in no pipe: nobody reads, and nothing here waits
    assert [await asyncio.to_thread(connection.recv_bytes) for _ in MESSAGES] == MESSAGES


async def test_a_message_of_the_long_form_is_read_in_any_pieces(ends):
    frames, received, _ = ends
    sent = struct.pack("!iQ", -1, 3) + b"abc" + struct.pack("!i", 2) + b"de"
    for position in range(len(sent)):
        frames.data_received(sent[position : position + 1])
    assert received == [b"abc", b"de"]


async def test_half_a_message_is_none_and_the_end_is_told(ends):
    frames, received, connection = ends
    os.write(connection.fileno(), struct.pack("!i", 10) + b"half")
    connection.close()
    await asyncio.wait_for(frames.closed.wait(), 10)
    frames.send(b"to nobody")
    assert received == []


async def test_after_closing_nothing_more_is_handed_over():
    received: list[bytes] = []

    def refuse(message: bytes) -> None:
        received.append(message)
        frames.close()

    frames = _Frames(refuse)
    frames.data_received((struct.pack("!i", 1) + b"a") * 3)
    assert received == [b"a"]
