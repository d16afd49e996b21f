"""Which concept of a product is current, which one a request shows, and its file; segments that wait for the first."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from models.briefs import Concept, Recipe
from models.briefs import subject as subject_of
from models.errors import WeightsError
from schemas.base import Contract, Method, Timestamp
from schemas.events import SegmentUpdated
from streams.failures import ConceptUnusable, ObjectMissing
from streams.settings import TrainingSettings
from streams.store.keys import current_concept_key, parked_key, parked_prefix, pinned_concept_key
from streams.store.protocol import ObjectStore

_KEPT_FILES = 8
_STALE_SECONDS = 3600.0


class CurrentConcept(Contract):
    """The pointer `concepts/<product_id>/current.json`, and what a request's `concept.json` holds.

    occurred_at, offset: of the registration; a later one replaces it. weights: of the model that learned it.
    """

    product_id: str
    request_id: str
    occurred_at: Timestamp
    offset: int
    method: Method
    class_noun: str
    placeholder_token: str
    key: str
    sha256: str
    weights: str

    @property
    def subject(self) -> str:
        """How a prompt names the product."""
        return subject_of(self.placeholder_token, self.class_noun, self.method)


def weights_of(recipe: Recipe) -> str:
    """Return the revision of the recipe's diffusion weights.

    They alone decide whether a concept fits; the fingerprint would also tell a trainer on a GPU from a renderer on a
    CPU, or one release of torch from the next.
    """
    return next((model.revision for model in recipe.models if model.role == "diffusion"), "")


def concept_name(sha256: str) -> str:
    """Return a concept's name below its prefix; by contents, so that two trainers never overwrite each other's."""
    return f"concept-{sha256[:16]}.safetensors"


async def current_concept(store: ObjectStore, product_id: str) -> CurrentConcept | None:
    """Return a product's current concept, None before its first."""
    content = await store.get(current_concept_key(product_id))
    return None if content is None else CurrentConcept.model_validate_json(content)


async def make_current(store: ObjectStore, concept: CurrentConcept) -> None:
    """Point to `concept` unless a later registration is pointed to already.

    Of registrations of the same moment the later in the topic counts: one product's are all in one partition.
    """
    present = await current_concept(store, concept.product_id)
    if present is not None:
        later = (present.occurred_at, present.offset) > (concept.occurred_at, concept.offset)
        if later or present.request_id == concept.request_id:
            return
    await store.put(current_concept_key(concept.product_id), concept.to_json(), "application/json")


async def pinned_concept(store: ObjectStore, prefix: str) -> CurrentConcept | None:
    """Return the concept that the request of `prefix` shows, None where none has been chosen yet."""
    content = await store.get(pinned_concept_key(prefix))
    return None if content is None else CurrentConcept.model_validate_json(content)


async def pin(store: ObjectStore, prefix: str, concept: CurrentConcept) -> CurrentConcept:
    """Choose the concept of a request: `concept`, or the one that another delivery was faster to choose.

    Every delivery writes the same keys, so all of them must show the same concept, whatever is current meanwhile.
    """
    if await store.put_if_absent(pinned_concept_key(prefix), concept.to_json(), "application/json"):
        return concept
    return await pinned_concept(store, prefix) or concept


@dataclass
class ConceptFiles:
    """Concepts on this machine's disk: fetched once however many ask, kept while anybody uses them.

    sound: inode and size of the files that have been read and found to be what they should.
    """

    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    sound: dict[str, tuple[int, int]] = field(default_factory=dict)

    @asynccontextmanager
    async def brought(
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
                if not await self._is_sound(digest, path):
                    await _fetch(store, concept, path)
                    self.sound[digest] = _identity(path)
            self._forget_oldest(folder)
            yield Concept(
                concept.product_id, concept.method, str(path), digest, concept.placeholder_token, concept.class_noun
            )
        except WeightsError as error:
            self.sound.pop(digest, None)
            raise ConceptUnusable(product_id=concept.product_id, detail=str(error)) from error
        finally:
            self.used[digest] -= 1
            if not self.used[digest]:
                del self.used[digest], self.locks[digest]

    async def _is_sound(self, digest: str, path: Path) -> bool:
        """Return whether the file is there and whole; it is read once, after that its identity is enough."""
        with suppress(FileNotFoundError):  # another worker of this machine may take it away at any time
            if self.sound.get(digest) != _identity(path):
                if await asyncio.to_thread(_sha256, path) != digest:
                    return False
                self.sound[digest] = _identity(path)
            os.utime(path)
            return True
        return False

    def _forget_oldest(self, folder: Path) -> None:
        for path in newest_first(list(folder.glob("*.safetensors")))[_KEPT_FILES:]:
            if path.stem not in self.used:
                path.unlink(missing_ok=True)
                self.sound.pop(path.stem, None)
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


def newest_first(paths: list[Path]) -> list[Path]:
    """Return the files by the time of their last change; one that goes meanwhile counts as the oldest."""

    def changed(path: Path) -> float:
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
        return 0.0

    return sorted(paths, key=changed, reverse=True)


def workdir(settings: TrainingSettings) -> Path:
    """Return the local scratch folder."""
    return Path(settings.workdir) if settings.workdir else Path(tempfile.gettempdir()) / f"creatives-{os.getuid()}"


async def park(store: ObjectStore, event: SegmentUpdated, product_id: str, request_id: str) -> None:
    """Keep a segment until its product has been learned."""
    await store.put(parked_key(product_id, request_id), event.to_json(), "application/json")


async def unpark(store: ObjectStore, product_id: str, request_id: str) -> None:
    """Take back what `park` wrote."""
    await store.delete(parked_key(product_id, request_id))


async def parked(store: ObjectStore, product_id: str) -> AsyncIterator[tuple[str, SegmentUpdated]]:
    """Yield key and event of each segment that waits for a product; one at a time, there may be many."""
    for key in await store.list(parked_prefix(product_id)):
        content = await store.get(key)
        if content is not None:
            yield key, SegmentUpdated.model_validate_json(content)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
