"""Transfers of files by threads. A cancelled transfer stops at its next chunk, and ends together with its thread.

Otherwise a thread would go on: it would store an object that a clean-up has just looked for, or write to a closed file.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from models.errors import Cancelled
from models.local_files import disk_errors

T = TypeVar("T")


class UploadSource:
    """A file that the client reads. `read` raises Cancelled once `stop` is set, and ScratchDiskUnusable."""

    def __init__(self, file: BinaryIO, folder: Path, stop: threading.Event) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._file = file
        self._folder = folder
        self._stop = stop

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        if self._stop.is_set():
            raise Cancelled
        with disk_errors(self._folder):
            return self._file.read(size)


@contextmanager
def open_upload(path: Path, stop: threading.Event) -> Iterator[UploadSource]:
    """Open a file to upload. Raises FileNotFoundError, or ScratchDiskUnusable if it cannot be opened."""
    path.stat()
    with disk_errors(path.parent):
        file = path.open("rb")
    with file:
        yield UploadSource(file, path.parent, stop)


async def end_with_thread(transfer: asyncio.Future[T], stop: threading.Event) -> T:
    """Return the transfer's result. If cancelled, set `stop` and wait until its thread has ended."""
    try:
        return await asyncio.shield(transfer)
    except asyncio.CancelledError:
        stop.set()
        while not transfer.done():
            with suppress(asyncio.CancelledError):  # a second cancellation changes nothing
                await asyncio.wait({transfer})
        if not transfer.cancelled():
            transfer.exception()  # asyncio would log it as never retrieved
        raise
