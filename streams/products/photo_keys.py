"""Downloads a photo from the worker's own bucket, by any spelling of its key that names one object alone.

The documented spelling is the key as it is in the bucket. Events of S3 stores encode keys (`jar+1.jpg`, `jar%201.jpg`),
and macOS writes accents as characters of their own, so those spellings are tried next.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from models.local_files import partial_file
from streams.failures import AddressForbidden, ObjectMissing, ObjectRefused, ObjectTooLarge, PhotoRefused
from streams.store.protocol import ObjectStore

PHOTOS = "photos/"


async def download_object(uri: str, path: Path, store: ObjectStore, limit: int) -> None:
    """Write the photo at an `s3://` address to the file `path`.

    Raises AddressForbidden, ObjectMissing, ObjectRefused, ObjectTooLarge, PhotoRefused (the address may mean several
    objects) and the errors of the store.
    """
    written, *others = _possible_keys(uri, store)
    refusal: ObjectRefused | None = None
    try:
        if await _download(written, path, store, limit):
            return
    except ObjectRefused as error:  # an encoded name may be longer than a store allows
        refusal = error
    existing = [key for key in others if await _exists(key, store)]
    if len(existing) > 1:
        names = " or ".join(repr(key) for key in existing)
        raise PhotoRefused(uri=_shortened(uri), detail=f"it may mean {names}; write the key as it is in the bucket")
    if not existing or not await _download(existing[0], path, store, limit):
        raise refusal or ObjectMissing(uri=_shortened(uri))


async def _download(key: str, path: Path, store: ObjectStore, limit: int) -> bool:
    with partial_file(path) as file:
        found = await store.download(key, file.write, limit)
        if found:
            await asyncio.to_thread(file.commit)
        return found


def _possible_keys(uri: str, store: ObjectStore) -> list[str]:
    """Return the keys that an address may mean, the key as written first. Raises AddressForbidden if none may be read.

    Keys are no paths, so `..` inside a name is harmless. HTTP clients and servers resolve `.` and `..` as parts of a
    path, so such a key could name an object outside `photos/`.
    """
    key = uri.removeprefix(store.uri(""))
    decoded = [key, *(_decoded(key, decode) for decode in (unquote, unquote_plus))]
    spellings = [spelling for text in decoded for spelling in _normal_forms(text)]
    allowed = [spelling for spelling in dict.fromkeys(spellings) if _may_be_read(spelling)]
    if key == uri or not allowed:
        detail = f"photos are read below {store.uri(PHOTOS)} only, and no part of the path may be `.` or `..`."
        raise AddressForbidden(uri=_shortened(uri), detail=detail)
    return allowed


def _decoded(key: str, decode: Callable[..., str]) -> str:
    try:
        return decode(key, errors="strict")
    except UnicodeDecodeError:
        return key


def _normal_forms(text: str) -> tuple[str, str, str]:
    return text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def _may_be_read(key: str) -> bool:
    return key.startswith(PHOTOS) and not {".", ".."} & set(key.split("/"))


async def _exists(key: str, store: ObjectStore) -> bool:
    try:
        return await store.get(key, limit=0) is not None
    except ObjectTooLarge:
        return True
    except ObjectRefused:
        return False


def _shortened(uri: str) -> str:
    return uri[:200]
