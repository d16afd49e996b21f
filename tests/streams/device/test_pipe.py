"""The worker's end of the pipe speaks the format of `multiprocessing.connection.Connection`."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection

import pytest

from streams.device.pipe import FramedPipe

SIZES = (0, 1, 3, 70_000, 5_000_000)
MESSAGES = [bytes([size % 251]) * size for size in SIZES]
Ends = tuple[FramedPipe, Connection]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Return both ends: the worker's and the child's."""
    here, there = socket.socketpair()
    pipe, child = FramedPipe(), Connection(there.detach())
    await pipe.open(here)
    yield pipe, child
    pipe.close()
    child.close()


async def receive_all(pipe: FramedPipe) -> list[bytes]:
    """Return every message until an end is closed."""
    messages: list[bytes] = []
    async with asyncio.timeout(10):
        while (message := await pipe.receive()) is not None:
            messages.append(message)
    return messages


async def test_messages_from_the_child_arrive_whole_and_in_order(ends: Ends) -> None:
    pipe, child = ends
    receiving = asyncio.create_task(receive_all(pipe))
    for message in MESSAGES:
        await asyncio.to_thread(child.send_bytes, message)
    child.close()
    assert await receiving == MESSAGES


async def test_sending_never_waits_for_a_child_that_does_not_read_yet(ends: Ends) -> None:
    pipe, child = ends
    for message in MESSAGES:
        pipe.send(message)  # five megabytes fit into no socket buffer
    assert [await asyncio.to_thread(child.recv_bytes) for _ in MESSAGES] == MESSAGES


async def test_a_message_with_a_long_length_is_read_in_any_pieces(ends: Ends) -> None:
    pipe, child = ends
    receiving = asyncio.create_task(receive_all(pipe))
    sent = struct.pack("!iQ", -1, 3) + b"abc" + struct.pack("!i", 2) + b"de"
    for position in range(len(sent)):
        os.write(child.fileno(), sent[position : position + 1])
        await asyncio.sleep(0.001)
    child.close()
    assert await receiving == [b"abc", b"de"]


async def test_half_a_message_of_a_dead_child_is_dropped(ends: Ends) -> None:
    pipe, child = ends
    child.send_bytes(b"whole")
    os.write(child.fileno(), struct.pack("!i", 10) + b"half")
    child.close()
    assert await receive_all(pipe) == [b"whole"]
    pipe.send(b"to nobody")


async def test_messages_of_a_child_that_died_without_reading_still_arrive(ends: Ends) -> None:
    """The kernel reports a reset connection then, after the messages."""
    pipe, child = ends
    pipe.send(b"unread")
    child.send_bytes(b"last message")
    child.close()
    assert await receive_all(pipe) == [b"last message"]


async def test_close_drops_messages_that_have_arrived(ends: Ends) -> None:
    pipe, child = ends
    for _ in range(3):
        child.send_bytes(b"a")
    assert await pipe.receive() == b"a"
    pipe.close()
    assert await pipe.receive() is None


async def test_a_pipe_that_is_not_open_sends_and_receives_nothing() -> None:
    pipe = FramedPipe()
    pipe.send(b"a")
    assert await pipe.receive() is None
