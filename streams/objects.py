"""What the service needs of an object store, and the order in which a request's objects are written.

Pictures first, the manifest last: the manifest is the commit point of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from streams.keys import manifest_key

A = TypeVar("A")
B = TypeVar("B")


class ObjectStore(Protocol):
    """Keys to bytes. Every method raises StoreUnavailable (try again) or StoreRefused (a person must act)."""

    async def put(self, key: str, content: bytes, media_type: str) -> None:
        """Write one object, over what was there."""
        ...

    async def put_if_absent(self, key: str, content: bytes, media_type: str) -> bool:
        """Write one object unless the key is taken; return whether it was written."""
        ...

    async def get(self, key: str, limit: int | None = None) -> bytes | None:
        """Return an object's bytes, None where there is none. Raises ObjectTooLarge beyond `limit` bytes."""
        ...

    async def upload(self, key: str, path: Path, media_type: str) -> None:
        """Write one object from a file, without holding it in memory."""
        ...

    async def download(self, key: str, path: Path) -> bool:
        """Write an object to a file, whole or not at all; return whether there is one."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, sorted."""
        ...

    async def delete(self, key: str) -> None:
        """Remove one object; one that is not there is no error."""
        ...

    async def check(self) -> None:
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


@dataclass(frozen=True)
class ObjectSet:
    """Everything of a request that is to be stored."""

    objects: Sequence[StoredObject]
    manifest: bytes = field(repr=False)


async def put_set(store: ObjectStore, prefix: str, make: Callable[[], ObjectSet]) -> bytes:
    """Write what `make` returns, the manifest last; return the manifest that stands (another worker's, if faster).

    Objects of one request have the same bytes whoever writes them, so two writers do each other no harm. Last bits may
    differ between machines, though: so a manifest that came while the pictures were made is looked for first, and the
    set is made while the store is looking.
    """
    key = manifest_key(prefix)
    standing, made = await meanwhile(store.get(key), make)
    if standing is not None:
        return standing
    await asyncio.gather(*(store.put(prefix + item.name, item.content, item.media_type) for item in made.objects))
    if await store.put_if_absent(key, made.manifest, "application/json"):
        return made.manifest
    standing = await store.get(key)
    return made.manifest if standing is None else standing


async def meanwhile(answer: Coroutine[Any, Any, A], call: Callable[[], B]) -> tuple[A, B]:
    """Return what is waited for, such as the store's answer, and what `call`, made in the meantime, returned."""
    asked = asyncio.create_task(answer)
    try:
        await asyncio.sleep(0)  # ask first
        called = call()
        return await asked, called
    finally:
        asked.cancel()
