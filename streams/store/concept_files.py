"""Concept files on the local disk: downloaded once, verified, and kept while a job uses them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from models.briefs import Concept
from models.errors import WeightsError
from streams.failures import ConceptUnusable, ObjectMissing
from streams.scratch import newest_first, scratch_path, workdir
from streams.store.concepts import CurrentConcept
from streams.store.protocol import ObjectStore
from streams.training_settings import TrainingSettings

_MAX_FILES = 8
_STALE_SECONDS = 3600.0


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

        Raises ObjectMissing if the store has no intact copy, ConceptUnusable if the device cannot use the concept.
        """
        folder, digest = workdir(settings) / "concepts", concept.sha256
        path = scratch_path(folder, f"{digest}.safetensors")
        self.used[digest] += 1
        try:
            async with self.locks.setdefault(digest, asyncio.Lock()):
                if not await self._is_verified(digest, path):
                    await _download(store, concept, path)
                    self.verified[digest] = _inode_and_size(path)
            self._delete_old_files(folder)
            yield Concept(
                concept.product_id, concept.method, str(path), digest, concept.placeholder_token, concept.class_noun
            )
        except WeightsError as error:
            self.verified.pop(digest, None)
            raise ConceptUnusable(product_id=concept.product_id, detail=str(error)) from error
        finally:
            self.used[digest] -= 1
            if not self.used[digest]:
                del self.used[digest], self.locks[digest]

    async def _is_verified(self, digest: str, path: Path) -> bool:
        """Return whether the file exists and is intact. Hashes it only if its inode or size is new."""
        with suppress(FileNotFoundError):  # another worker on this machine may delete it at any time
            if self.verified.get(digest) != _inode_and_size(path):
                if await asyncio.to_thread(_sha256, path) != digest:
                    return False
                self.verified[digest] = _inode_and_size(path)
            os.utime(path)
            return True
        return False

    def _delete_old_files(self, folder: Path) -> None:
        for path in newest_first(list(folder.glob("*.safetensors")))[_MAX_FILES:]:
            if path.stem not in self.used:
                path.unlink(missing_ok=True)
                self.verified.pop(path.stem, None)
        for path in folder.glob("*.part"):  # from workers that were killed during a download
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                    path.unlink()


async def _download(store: ObjectStore, concept: CurrentConcept, path: Path) -> None:
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    found = await store.download(concept.key, partial)
    if not found or await asyncio.to_thread(_sha256, partial) != concept.sha256:
        partial.unlink(missing_ok=True)
        raise ObjectMissing(uri=store.uri(concept.key))
    partial.replace(path)


def _inode_and_size(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
