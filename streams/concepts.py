"""Which concept of a product is current, and its file on this machine; segments that wait for a product's first one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

from models.briefs import Concept
from models.briefs import subject as subject_of
from schemas.events import Contract, Method, SegmentUpdated, Timestamp
from streams.failures import ObjectMissing
from streams.keys import current_concept_key, parked_key, parked_prefix
from streams.objects import ObjectStore
from streams.settings import TrainingSettings

_KEPT_FILES = 8


class CurrentConcept(Contract):
    """The pointer `concepts/<product_id>/current.json`. occurred_at: of the registration; a later one replaces it."""

    product_id: str
    request_id: str
    occurred_at: Timestamp
    method: Method
    class_noun: str
    placeholder_token: str
    key: str
    sha256: str

    @property
    def subject(self) -> str:
        """How a prompt names the product."""
        return subject_of(self.placeholder_token, self.class_noun, self.method)


def concept_name(sha256: str) -> str:
    """Return a concept's name below its prefix; by contents, so that two trainers never overwrite each other's."""
    return f"concept-{sha256[:16]}.safetensors"


async def current_concept(store: ObjectStore, product_id: str) -> CurrentConcept | None:
    """Return a product's current concept, None before its first."""
    content = await store.get(current_concept_key(product_id))
    return None if content is None else CurrentConcept.model_validate_json(content)


async def make_current(store: ObjectStore, concept: CurrentConcept) -> None:
    """Point to `concept` unless a later registration is pointed to already."""
    present = await current_concept(store, concept.product_id)
    if present is None or (present.request_id != concept.request_id and present.occurred_at <= concept.occurred_at):
        await store.put(current_concept_key(concept.product_id), concept.to_json(), "application/json")


async def brought(store: ObjectStore, concept: CurrentConcept, settings: TrainingSettings) -> Concept:
    """Return the concept with its file on this machine's disk. Raises ObjectMissing where the store lost it."""
    folder = workdir(settings) / "concepts"
    path = folder / f"{concept.sha256}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        arriving = folder / f"{concept.sha256}.{os.getpid()}.part"
        there = await store.download(concept.key, arriving)
        if not there or await asyncio.to_thread(_sha256, arriving) != concept.sha256:
            raise ObjectMissing(uri=store.uri(concept.key))
        arriving.replace(path)
    path.touch()
    _forget_oldest(folder)
    told = (concept.placeholder_token, concept.class_noun)
    return Concept(concept.product_id, concept.method, str(path), concept.sha256, *told)


def workdir(settings: TrainingSettings) -> Path:
    """Return the local scratch folder."""
    return Path(settings.workdir) if settings.workdir else Path(tempfile.gettempdir()) / f"creatives-{os.getuid()}"


async def park(store: ObjectStore, event: SegmentUpdated, product_id: str, request_id: str) -> None:
    """Keep a segment until its product has been learned."""
    await store.put(parked_key(product_id, request_id), event.to_json(), "application/json")


async def unpark(store: ObjectStore, product_id: str, request_id: str) -> None:
    """Take back what `park` wrote."""
    await store.delete(parked_key(product_id, request_id))


async def parked(store: ObjectStore, product_id: str) -> list[tuple[str, SegmentUpdated]]:
    """Return the keys and events that wait for a product."""
    keys = await store.list(parked_prefix(product_id))
    contents = [(key, await store.get(key)) for key in keys]
    return [(key, SegmentUpdated.model_validate_json(content)) for key, content in contents if content is not None]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[_KEPT_FILES:]:
        path.unlink(missing_ok=True)
