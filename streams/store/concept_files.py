"""Concept files on the local disk: downloaded once, verified, and kept while a job uses them.

All workers on a machine share the folder. A lock on each file in use, released with its process, keeps other workers
from deleting it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from models.briefs import Concept
from models.errors import WeightsError
from models.local_files import PartialFile, delete_partials, delete_unused, disk_errors, hold_file, oldest_first
from streams.failures import ConceptFileLost, ConceptUnusable, ObjectMissing, ObjectTooLarge
from streams.scratch import scratch_folder, scratch_path
from streams.store.concepts import CurrentConcept
from streams.store.protocol import ObjectStore
from streams.training_settings import TrainingSettings


@dataclass
class ConceptFiles:
    """Concepts on the local disk, by sha256. Concurrent jobs share one download; a file in use is never deleted.

    locks: one per concept in use. used: number of jobs per concept. verified: inode and size of each file whose sha256
    was checked.
    """

    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    verified: dict[str, tuple[int, int]] = field(default_factory=dict)

    @asynccontextmanager
    async def local_copy(
        self, store: ObjectStore, concept: CurrentConcept, settings: TrainingSettings
    ) -> AsyncIterator[Concept]:
        """Yield the concept with a local file.

        Raises ObjectMissing if the store has no intact copy, ConceptUnusable if the concept is too large or the device
        cannot use it, ConceptFileLost if the file disappeared or changed in the meantime, ScratchDiskUnusable.
        """
        folder, digest = scratch_folder(settings, "concepts"), concept.sha256
        path = scratch_path(folder, f"{digest}.safetensors")
        self.used[digest] += 1
        held = None
        try:
            async with self.locks.setdefault(digest, asyncio.Lock()):
                held = await self._intact_file(store, concept, path, settings)
            yield Concept(
                concept.product_id, concept.method, str(path), digest, concept.placeholder_token, concept.class_noun
            )
        except WeightsError as error:
            self.verified.pop(digest, None)
            if held is not None and not await asyncio.to_thread(_is_intact, path, held, digest):
                raise ConceptFileLost(product_id=concept.product_id, path=str(path)) from error
            raise ConceptUnusable(product_id=concept.product_id, detail=str(error)) from error
        finally:
            if held is not None:
                os.close(held)
            self.used[digest] -= 1
            if not self.used[digest]:
                del self.used[digest], self.locks[digest]

    async def _intact_file(
        self, store: ObjectStore, concept: CurrentConcept, path: Path, settings: TrainingSettings
    ) -> int:
        """Return the descriptor of the locked file; download it unless an intact one is there."""
        limit = settings.max_concept_cache_bytes
        while (held := await self._hold_verified(concept.sha256, path)) is None:
            await asyncio.to_thread(_clean_up, path.parent, limit)
            downloaded = await _download(store, concept, path, settings.max_concept_bytes)
            self.verified[concept.sha256] = downloaded.st_ino, downloaded.st_size
            await asyncio.to_thread(_clean_up, path.parent, limit)
        return held

    async def _hold_verified(self, digest: str, path: Path) -> int | None:
        """Lock the file, and return its descriptor; None if it is missing or damaged.

        Hashes the file only if its inode or size is new.
        """
        held = hold_file(path)
        if held is None:
            return None
        with ExitStack() as unless_verified:  # a cancellation, too, must release the lock
            unless_verified.callback(os.close, held)
            if await self._is_verified(digest, path, held):
                unless_verified.pop_all()
                return held
            await asyncio.to_thread(_delete_damaged, path, held)
        return None

    async def _is_verified(self, digest: str, path: Path, held: int) -> bool:
        found = os.fstat(held)
        if self.verified.get(digest) != (found.st_ino, found.st_size):
            if not await asyncio.to_thread(_is_intact, path, held, digest):
                return False
            self.verified[digest] = found.st_ino, found.st_size
        with suppress(OSError):  # a disk that cannot be written can still be read
            os.utime(held)
        return True


def _clean_up(folder: Path, limit: int) -> None:
    """Delete partial files without a writer, and the least recently used files above `limit` bytes in total.

    The newest file stays even if it is larger.
    """
    with disk_errors(folder):
        delete_partials(folder)
        found = oldest_first(folder.glob("*.safetensors"))
        total = sum(size for _, size in found)
        for path, size in found[:-1]:
            if total > limit and delete_unused(path):
                total -= size


def _delete_damaged(path: Path, held: int) -> None:
    with disk_errors(path.parent), suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(held)):
            path.unlink()


def _make_room(folder: Path) -> bool:
    """Delete the least recently used file that no job uses. Return whether there was one."""
    return any(delete_unused(path) for path, _ in oldest_first(folder.glob("*.safetensors")))


async def _download(store: ObjectStore, concept: CurrentConcept, path: Path, limit: int) -> os.stat_result:
    """Download the concept, and return the state of the file. A full disk makes room with files that no job uses."""
    file = await asyncio.to_thread(PartialFile, path, partial(_make_room, path.parent))
    digest = hashlib.sha256()

    def write(chunk: bytes) -> None:
        digest.update(chunk)
        file.write(chunk)

    try:
        if not await store.download(concept.key, write, limit) or digest.hexdigest() != concept.sha256:
            raise ObjectMissing(uri=store.uri(concept.key))
        await asyncio.to_thread(file.commit, overwrite=False)
        return file.stat()
    except ObjectTooLarge as error:
        raise ConceptUnusable(product_id=concept.product_id, detail=str(error)) from error
    finally:
        file.close()


def _is_intact(path: Path, held: int, digest: str) -> bool:
    """Return whether the locked file is still at `path` and has this sha256."""
    with disk_errors(path.parent), suppress(FileNotFoundError), path.open("rb") as file:
        same = os.path.samestat(os.fstat(file.fileno()), os.fstat(held))
        return same and hashlib.file_digest(file, "sha256").hexdigest() == digest
    return False
