"""A request's manifest holds its outcome, so every redelivery publishes the same bytes.

The worker writes the pictures first and the manifest last: the manifest is the commit point of a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from models.briefs import Candidate, Picture, StudioRecipe
from schemas.base import Contract
from schemas.events import Image, ModelUsed, Recipe
from streams.messages import Headers, Outcome, OutcomeTopic
from streams.store.keys import manifest_key, picture_name
from streams.store.outcomes import Message, check_outcome, cloud_headers
from streams.store.protocol import ObjectStore, StoredObject, overlap
from streams.store.signed_objects import Expected, SignedObjects

_MAX_BYTES = 2 * 2**20  # the largest outcome takes a quarter of it


class Manifest(Contract):
    """The content of `manifest.json`: the message exactly as published, and every candidate.

    message: the outcome's JSON text. headers: as published, in order.
    """

    manifest_version: int = 1
    topic: OutcomeTopic
    key: str
    headers: tuple[tuple[str, str], ...]
    message: str
    candidates: tuple[Candidate, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The outcome to publish."""
        headers = tuple((name, value.encode()) for name, value in self.headers)
        return Outcome(self.topic, self.key.encode(), self.message.encode(), headers)


@dataclass(frozen=True)
class ObjectSet:
    """All objects to store for a request, with its manifest."""

    objects: Sequence[StoredObject]
    manifest: Manifest


def read_manifest(signed: SignedObjects, prefix: str) -> Awaitable[Outcome | None]:
    """Return the committed outcome of the request, or None. Starts when called, as `get` does."""
    return signed.read(_expected(signed.store, prefix))


async def commit(signed: SignedObjects, prefix: str, make: Callable[[], ObjectSet]) -> Outcome:
    """Write the set that `make` returns, the manifest last. Return the committed outcome: ours, or a faster worker's.

    Pictures of two machines may differ in the last bits. Their names contain their sha256, so the slower worker
    overwrites nothing that the faster one announced. `commit` first checks for a manifest that another worker wrote
    during the rendering, which saves the uploads, and calls `make` while that check is pending.
    """
    existing, (made, manifest) = await overlap(read_manifest(signed, prefix), lambda: _encode(make()))
    if existing is not None:
        return existing
    await asyncio.gather(
        *(signed.store.put(prefix + item.name, item.content, item.media_type) for item in made.objects)
    )
    return await signed.write_once(_expected(signed.store, prefix), manifest)


def _encode(made: ObjectSet) -> tuple[ObjectSet, bytes]:
    return made, made.manifest.to_json()


def _expected(store: ObjectStore, prefix: str) -> Expected[Outcome]:
    def parse(content: bytes) -> Outcome:
        outcome = Manifest.model_validate_json(content).outcome
        check_outcome(outcome, prefix, store)
        return outcome

    return Expected(manifest_key(prefix), _MAX_BYTES, parse)


def build_manifest(
    topic: OutcomeTopic, key: str, message: Message, parent: Headers, candidates: Iterable[Candidate] = ()
) -> Manifest:
    """Return the manifest of an outcome. parent: headers of the input event."""
    return Manifest(
        topic=topic,
        key=key,
        headers=cloud_headers(topic, key, message, parent),
        message=message.to_json().decode(),
        candidates=tuple(candidates),
    )


def prepare_pictures(
    pictures: Iterable[Picture], prefix: str, store: ObjectStore
) -> tuple[list[StoredObject], tuple[Image, ...], datetime | None]:
    """Return the objects to write, the images of the event, and the time when their URLs expire (None: never)."""
    objects: list[StoredObject] = []
    images: list[Image] = []
    expires_at: datetime | None = None
    for picture in pictures:
        sha256 = hashlib.sha256(picture.content).hexdigest()
        name = picture_name(picture.format, picture.rank, sha256, picture.media_type)
        url, expires_at = store.link(prefix + name)
        objects.append(StoredObject(name, picture.content, picture.media_type))
        images.append(_image(picture, sha256, url, store.uri(prefix + name)))
    return objects, tuple(images), expires_at


def _image(picture: Picture, sha256: str, url: str, uri: str) -> Image:
    return Image(
        rank=picture.rank,
        url=url,
        s3_uri=uri,
        format=picture.format,
        width=picture.width,
        height=picture.height,
        media_type=picture.media_type,
        bytes=len(picture.content),
        sha256=sha256,
        seed=picture.seed,
        scores=picture.scores,
    )


def event_recipe(studio: StudioRecipe, worker_settings: Mapping[str, str | int] | None = None) -> Recipe:
    """Return the recipe for an event. worker_settings: the worker's share of the recipe; the fingerprint covers it."""
    models = tuple(ModelUsed(role=m.role, id=m.id, revision=m.revision, licence=m.licence) for m in studio.models)
    if not worker_settings:
        return Recipe(fingerprint=studio.fingerprint, models=models, settings=studio.settings)
    decisive = json.dumps([studio.fingerprint, worker_settings], sort_keys=True, ensure_ascii=False)
    fingerprint = hashlib.sha256(decisive.encode()).hexdigest()
    return Recipe(fingerprint=fingerprint, models=models, settings={**studio.settings, **worker_settings})


def now() -> datetime:
    """Return the current UTC time, truncated to milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
