"""Concept files on this machine's disk: downloaded once, verified, kept while a job uses them."""

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
from streams.scratch import newest_first, workdir
from streams.store.concepts import CurrentConcept
from streams.store.protocol import ObjectStore
from streams.training_settings import TrainingSettings

_KEPT_FILES = 8
_STALE_SECONDS = 3600.0


@dataclass
class ConceptFiles:
    """Concepts on this machine's disk: fetched once however many ask, kept while anybody uses them.

    sound: inode and size of the files that have been read and found to be what they should.
    """

    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    verified: dict[str, tuple[int, int]] = field(default_factory=dict)

    @asynccontextmanager
    async def local_copy(
        self, store: ObjectStore, concept: CurrentConcept, settings: TrainingSettings
    ) -> AsyncIterator[Concept]:
        """Give the concept with its file on this machine.

        Raises ObjectMissing where the store lost it, ConceptUnusable where the device cannot use it.
        """
        folder, digest = workdir(settings) / "concepts", concept.sha256
        path = folder / f"{digest}.safetensors"
        self.used[digest] += 1
        try:
            async with self.locks.setdefault(digest, asyncio.Lock()):
                if not await self._is_verified(digest, path):
                    await _fetch(store, concept, path)
                    self.verified[digest] = _identity(path)
            self._forget_oldest(folder)
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
        """Return whether the file is there and whole; it is read once, after that its identity is enough."""
        with suppress(FileNotFoundError):  # another worker of this machine may take it away at any time
            if self.verified.get(digest) != _identity(path):
                if await asyncio.to_thread(_sha256, path) != digest:
                    return False
                self.verified[digest] = _identity(path)
            os.utime(path)
            return True
        return False

    def _forget_oldest(self, folder: Path) -> None:
        for path in newest_first(list(folder.glob("*.safetensors")))[_KEPT_FILES:]:
            if path.stem not in self.used:
                path.unlink(missing_ok=True)
                self.verified.pop(path.stem, None)
        for path in folder.glob("*.part"):  # of workers that were killed while they fetched
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                    path.unlink()


async def _fetch(store: ObjectStore, concept: CurrentConcept, path: Path) -> None:
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    arriving = path.with_suffix(f".{os.getpid()}.part")
    there = await store.download(concept.key, arriving)
    if not there or await asyncio.to_thread(_sha256, arriving) != concept.sha256:
        arriving.unlink(missing_ok=True)
        raise ObjectMissing(uri=store.uri(concept.key))
    arriving.replace(path)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
