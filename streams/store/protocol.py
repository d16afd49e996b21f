"""What the service needs of an object store."""

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
    """Keys to bytes. Every method raises StoreUnavailable (try again) or StoreRefused (a person must act).

    What it is called for has begun when a method returns, waited for or not; `check` alone may begin when waited for.
    """

    def put(self, key: str, content: bytes, media_type: str) -> Awaitable[None]:
        """Write one object, over what was there."""
        ...

    def put_if_absent(self, key: str, content: bytes, media_type: str) -> Awaitable[bool]:
        """Write one object unless the key is taken; return whether it was written."""
        ...

    def get(self, key: str, limit: int | None = None) -> Awaitable[bytes | None]:
        """Return an object's bytes, None where there is none. Raises ObjectTooLarge beyond `limit` bytes."""
        ...

    def upload(self, key: str, path: Path, media_type: str) -> Awaitable[None]:
        """Write one object from a file, without holding it in memory."""
        ...

    def download(self, key: str, path: Path) -> Awaitable[bool]:
        """Write an object to a file, whole or not at all; return whether there is one."""
        ...

    def list(self, prefix: str) -> Awaitable[list[str]]:
        """Return the keys that begin with `prefix`, sorted."""
        ...

    def delete(self, key: str) -> Awaitable[None]:
        """Remove one object; one that is not there is no error."""
        ...

    def check(self) -> Awaitable[None]:
        """Return where the store answers and has the bucket."""
        ...

    def uri(self, key: str) -> str:
        """Return `s3://bucket/key`, which never expires."""
        ...

    def link(self, key: str) -> tuple[str, datetime | None]:
        """Return a URL for `key` and when it ends (None: never)."""
        ...


@dataclass(frozen=True)
class StoredObject:
    """One object of a set: its name below the set's prefix, its bytes, its media type."""

    name: str
    content: bytes = field(repr=False)
    media_type: str


async def overlap(answer: Awaitable[A], call: Callable[[], B]) -> tuple[A, B]:
    """Return what is waited for, such as the store's answer, and what `call`, made in the meantime, returned."""
    asked = asyncio.ensure_future(answer)
    try:
        called = call()
        return await asked, called
    finally:
        asked.cancel()
