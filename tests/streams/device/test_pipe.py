"""The worker's end of the pipe and the device process's end speak the same format."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models.briefs import Picture, Rendering
from models.connection import Connection
from models.wire import Answer, Cancel
from models.wire_format import BLOBS_LIMIT, FROM_DEVICE, HEADER_LIMIT, PREFIX, InvalidMessage, decode, encode
from streams.device.pipe import FramedPipe

Ends = tuple[FramedPipe, Connection, socket.socket]


def answer(*sizes: int) -> Answer:
    """Return an answer with a picture of each size in bytes."""
    pictures = tuple(Picture(1, "square", 1, 1, 1, "image/png", bytes([size % 251]) * size, {}) for size in sizes)
    return Answer(1, "request", Rendering("request", pictures, (), 0.1))


MESSAGES = [answer(), answer(0), answer(1, 3), answer(70_000), answer(5_000_000, 1)]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Return both ends, the worker's and the child's, and the child's socket."""
    here, there = socket.socketpair()
    pipe, child = FramedPipe(), Connection(there)
    await pipe.open(here)
    yield pipe, child, there
    pipe.close()
    child.close()


async def receive_all(pipe: FramedPipe) -> list[Any]:
    """Return every message until an end is closed."""
    messages: list[Any] = []
    async with asyncio.timeout(10):
        while (frame := await pipe.receive()) is not None:
            messages.append(decode(*frame, FROM_DEVICE))
    return messages


async def test_messages_from_the_child_arrive_whole_and_in_order(ends: Ends) -> None:
    pipe, child, _ = ends
    receiving = asyncio.create_task(receive_all(pipe))
    for message in MESSAGES:
        await asyncio.to_thread(child.send, message)
    child.close()
    assert await receiving == MESSAGES


async def test_sending_never_waits_for_a_child_that_does_not_read_yet(ends: Ends) -> None:
    pipe, _, there = ends
    child = Connection(there, FROM_DEVICE)
    for message in MESSAGES:
        pipe.send(encode(message))  # five megabytes fit into no socket buffer
    assert [await asyncio.to_thread(child.recv) for _ in MESSAGES] == MESSAGES


async def test_a_frame_is_read_in_any_pieces(ends: Ends) -> None:
    pipe, child, there = ends
    receiving = asyncio.create_task(receive_all(pipe))
    for byte in b"".join(encode(answer(3))):
        there.send(bytes([byte]))
        await asyncio.sleep(0)
    child.close()
    assert await receiving == [answer(3)]


@pytest.mark.parametrize("length", [3, 30, 200])
async def test_half_a_message_of_a_dead_child_is_dropped(ends: Ends, length: int) -> None:
    pipe, child, there = ends
    child.send(answer(1))
    there.sendall(b"".join(encode(answer(500)))[:length])
    child.close()
    assert await receive_all(pipe) == [answer(1)]
    pipe.send(encode(Cancel(1)))


@pytest.mark.parametrize("sizes", [(HEADER_LIMIT + 1, 0), (0, BLOBS_LIMIT + 1)])
async def test_a_frame_above_the_limits_is_refused_before_it_is_read(ends: Ends, sizes: tuple[int, int]) -> None:
    pipe, _, there = ends
    there.sendall(PREFIX.pack(*sizes))
    with pytest.raises(InvalidMessage, match="exceed the limit"):
        await pipe.receive()


async def test_messages_of_a_child_that_died_without_reading_still_arrive(ends: Ends) -> None:
    """The kernel reports a reset connection then, after the messages."""
    pipe, child, _ = ends
    pipe.send(encode(Cancel(1)))
    child.send(answer(1))
    child.close()
    assert await receive_all(pipe) == [answer(1)]


async def test_close_drops_messages_that_have_arrived(ends: Ends) -> None:
    pipe, child, _ = ends
    for _ in range(3):
        child.send(answer())
    assert await pipe.receive() is not None
    pipe.close()
    assert await pipe.receive() is None


async def test_a_pipe_that_is_not_open_sends_and_receives_nothing() -> None:
    pipe = FramedPipe()
    pipe.send(encode(Cancel(1)))
    assert await pipe.receive() is None
