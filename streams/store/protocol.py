"""The interface of the object store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class ObjectStore(Protocol):
    """Maps keys to bytes. Every method raises StoreUnavailable (retry) or StoreRefused (an operator must act).

    Every method starts its work when called, not when awaited. `check` alone may start when awaited.
    """

    def put(self, key: str, content: bytes, media_type: str) -> Awaitable[None]:
        """Write one object and replace any earlier content."""
        ...

    def put_if_absent(self, key: str, content: bytes, media_type: str) -> Awaitable[bool]:
        """Write one object unless the key exists. Return whether it was written."""
        ...

    def put_if_match(self, key: str, content: bytes, media_type: str, etag: str) -> Awaitable[bool]:
        """Write one object if the existing one has this ETag. Return whether it was written."""
        ...

    def etag(self, key: str) -> Awaitable[str | None]:
        """Return the object's ETag, which changes with its content, or None if the key does not exist."""
        ...

    def get(self, key: str, limit: int | None = None) -> Awaitable[bytes | None]:
        """Return an object's bytes, or None if the key does not exist. Raises ObjectTooLarge above `limit` bytes."""
        ...

    def upload(self, key: str, path: Path, media_type: str) -> Awaitable[None]:
        """Write one object from a file without loading the file into memory.

        A cancelled upload ends only when the object is written or never will be. Raises FileNotFoundError, and
        ScratchDiskUnusable if the file cannot be read.
        """
        ...

    def download(self, key: str, write: Callable[[bytes], object], limit: int | None = None) -> Awaitable[bool]:
        """Call `write` with an object's bytes, chunk by chunk, from another thread. Return whether the key exists.

        `write` may raise. It is not called after the method has ended, even by a cancellation.
        Raises ObjectTooLarge above `limit` bytes.
        """
        ...

    def list(self, prefix: str, before: datetime | None = None) -> Awaitable[list[str]]:
        """Return the keys that start with `prefix`, sorted. before: only those that were written before this time."""
        ...

    def delete(self, key: str) -> Awaitable[None]:
        """Delete one object. A missing key is not an error."""
        ...

    def check(self) -> Awaitable[None]:
        """Raise unless the store answers and the bucket exists."""
        ...

    def uri(self, key: str) -> str:
        """Return `s3://bucket/key`, which never expires."""
        ...

    def link(self, key: str) -> tuple[str, datetime | None]:
        """Return a URL for `key` and the time when it expires (None: never)."""
        ...


@dataclass(frozen=True)
class StoredObject:
    """One object of a set: its name below the set's prefix, its bytes and its media type."""

    name: str
    content: bytes = field(repr=False)
    media_type: str


async def overlap(answer: Awaitable[A], call: Callable[[], B]) -> tuple[A, B]:
    """Run `call` while `answer` is pending. Return both results."""
    task = asyncio.ensure_future(answer)
    try:
        result = call()
        return await task, result
    finally:
        if task.cancel():  # `call` raised while the answer was pending
            await asyncio.wait({task})
