"""Fetches the product photos that an event names, into files, from permitted places only.

`s3://`: the worker's own bucket, below `photos/`. `https://`: see `streams.products.photo_hosts`.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from models.local_files import disk_errors, private_folder
from models.photo_files import PhotoFile
from streams.failures import (
    AddressForbidden,
    ObjectMissing,
    ObjectRefused,
    ObjectTooLarge,
    PhotoRefused,
    PhotoUnavailable,
    StreamError,
)
from streams.products.photo_hosts import download_from_host, without_query
from streams.products.photo_keys import download_object
from streams.scratch import scratch_path
from streams.store.protocol import ObjectStore
from streams.training_settings import TrainingSettings

log = structlog.get_logger(__name__)

_PARALLEL = 4
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts at an unreachable host
_LEAST_SECONDS = 60.0  # for the first attempts, if `photo_timeout` is shorter
_FINAL = (AddressForbidden, ObjectMissing, ObjectRefused, ObjectTooLarge, PhotoRefused)


@dataclass(frozen=True)
class FetchedPhotos:
    """The fetched photos in order, and one error for each photo that failed."""

    photos: tuple[PhotoFile, ...]
    errors: tuple[StreamError, ...]


async def fetch_photos(
    uris: Sequence[str], folder: Path, store: ObjectStore, settings: TrainingSettings
) -> FetchedPhotos:
    """Fetch every photo into `folder`, all within `settings.photo_timeout` seconds. Retry an unreachable host.

    An address that is named twice is fetched once. The result holds an AddressForbidden, ObjectMissing, ObjectRefused,
    ObjectTooLarge, PhotoRefused or (after the timeout) PhotoUnavailable for each failed photo. Raises the errors of the
    store, and ScratchDiskUnusable if the local disk fails.
    """
    await asyncio.to_thread(private_folder, folder)
    slots = asyncio.Semaphore(_PARALLEL)
    distinct = list(dict.fromkeys(uris))
    tasks = [asyncio.create_task(_fetch_in_time(uri, folder, slots, store, settings)) for uri in distinct]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return await asyncio.to_thread(_apply_budget, distinct, results, settings.max_total_photo_bytes)


def _apply_budget(uris: Sequence[str], results: Sequence[PhotoFile | StreamError], budget: int) -> FetchedPhotos:
    """Leave out each photo that would take the files, in order, above `budget` bytes together."""
    photos: list[PhotoFile] = []
    errors: list[StreamError] = []
    sizes: dict[str, int] = {}
    for uri, result in zip(uris, results, strict=True):
        if not isinstance(result, PhotoFile):
            errors.append(result)
            continue
        with disk_errors(Path(result.path).parent):
            size = Path(result.path).stat().st_size
        if sum((sizes | {result.path: size}).values()) > budget:
            detail = f"with the photos before it, it is larger than the {budget} bytes of a registration"
            errors.append(PhotoRefused(uri=without_query(uri), detail=detail))
            continue
        sizes[result.path] = size
        photos.append(result)
    return FetchedPhotos(tuple(photos), tuple(errors))


async def _fetch_in_time(
    uri: str, folder: Path, slots: asyncio.Semaphore, store: ObjectStore, settings: TrainingSettings
) -> PhotoFile | StreamError:
    """Fetch one photo. The time that it waits for a slot counts too, so that slow hosts cannot hold a registration."""
    seconds = max(settings.photo_timeout, _LEAST_SECONDS)
    try:
        async with asyncio.timeout(seconds) as limit:
            return await _fetch_one(uri, folder, slots, store, settings)
    except TimeoutError:
        if not limit.expired():
            raise
        detail = f"the photos of this registration did not arrive within {seconds:g} s"
        return PhotoUnavailable(uri=without_query(uri), detail=detail)


async def _fetch_one(
    uri: str, folder: Path, slots: asyncio.Semaphore, store: ObjectStore, settings: TrainingSettings
) -> PhotoFile | StreamError:
    loop, pauses = asyncio.get_running_loop(), 0
    deadline = loop.time() + settings.photo_timeout
    fetched = scratch_path(folder, f"{uuid.uuid4().hex}.part")
    while True:
        try:
            async with slots:
                if uri.startswith("s3://"):
                    await download_object(uri, fetched, store, settings.max_photo_bytes)
                else:
                    await download_from_host(uri, fetched, settings)
                return await asyncio.to_thread(_name_by_content, fetched)
        except _FINAL as error:
            return error
        except PhotoUnavailable as error:
            pause = min(_LONGEST_PAUSE, _PAUSE * 2.0**pauses) * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
            if loop.time() + pause > deadline:
                return error
            log.warning("cannot fetch a photo yet, retrying", reason=str(error))
            pauses += 1
            await asyncio.sleep(pause)
        finally:
            with suppress(OSError):  # a disk that fails has failed the download already
                await asyncio.to_thread(fetched.unlink)


def _name_by_content(fetched: Path) -> PhotoFile:
    """Rename a complete file to its sha256, so that a file never changes while a device process reads it."""
    with disk_errors(fetched.parent):
        photo = PhotoFile.at(fetched)
        path = scratch_path(fetched.parent, photo.sha256)
        fetched.replace(path)
    return replace(photo, path=str(path))
