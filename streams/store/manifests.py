"""A request's manifest holds its outcome, so every redelivery publishes the same bytes.

The worker writes the pictures first and the manifest last: the manifest is the commit point of a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from models.briefs import Candidate, Picture, StudioRecipe
from schemas.base import Contract
from schemas.events import CreativeReady, CreativeRejected, Image, ModelUsed, ProductReady, Recipe
from streams.messages import Headers, Outcome, OutcomeTopic
from streams.store.keys import manifest_key, picture_name
from streams.store.protocol import ObjectStore, StoredObject, overlap

CE_SOURCE = "/fluence/creatives"
_TYPES: dict[OutcomeTopic, str] = {
    "creative_ready": "fluence.creative-ready.v1",
    "product_ready": "fluence.product-ready.v1",
    "creative_rejected": "fluence.creative-rejected.v1",
}
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
Message = CreativeReady | ProductReady | CreativeRejected


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


async def commit(store: ObjectStore, prefix: str, make: Callable[[], ObjectSet]) -> Outcome:
    """Write the set that `make` returns, the manifest last. Return the committed outcome: ours, or a faster worker's.

    Two workers of one request write the same bytes, but pictures of different machines may differ in the last bits.
    `commit` therefore first checks for a manifest that another worker wrote during the rendering, and calls `make`
    while that check is pending.
    """
    key = manifest_key(prefix)
    existing, (made, manifest) = await overlap(store.get(key), lambda: _encode(make()))
    if existing is not None:
        return read_outcome(existing)
    await asyncio.gather(*(store.put(prefix + item.name, item.content, item.media_type) for item in made.objects))
    if await store.put_if_absent(key, manifest, "application/json"):
        return made.manifest.outcome
    existing = await store.get(key)
    return made.manifest.outcome if existing is None else read_outcome(existing)


def _encode(made: ObjectSet) -> tuple[ObjectSet, bytes]:
    return made, made.manifest.to_json()


def read_outcome(manifest: bytes) -> Outcome:
    """Return the outcome in a stored manifest."""
    return Manifest.model_validate_json(manifest).outcome


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


def cloud_headers(topic: OutcomeTopic, key: str, message: Message, parent: Headers) -> tuple[tuple[str, str], ...]:
    """Return CloudEvents 1.0 headers (Kafka binding, binary mode) and a W3C `traceparent`."""
    return (
        ("ce_specversion", "1.0"),
        ("ce_id", message.request_id),
        ("ce_source", CE_SOURCE),
        ("ce_type", _TYPES[topic]),
        ("ce_time", message.created_at.isoformat().replace("+00:00", "Z")),
        ("ce_subject", key),
        ("content-type", "application/json"),
        ("traceparent", traceparent(message.request_id, parent)),
    )


def traceparent(request_id: str, parent: Headers) -> str:
    """Return a span in the trace of the `parent` headers, or in a new trace if they carry no valid one."""
    span = hashlib.sha256(f"span {request_id}".encode()).hexdigest()[:16]
    for name, value in parent:
        if name == "traceparent" and _TRACEPARENT.fullmatch(value):
            _, trace, _, flags = value.decode().split("-")
            return f"00-{trace}-{span}-{flags}"
    trace = hashlib.sha256(f"trace {request_id}".encode()).hexdigest()[:32]
    return f"00-{trace}-{span}-01"


def prepare_pictures(
    pictures: Iterable[Picture], prefix: str, store: ObjectStore
) -> tuple[list[StoredObject], tuple[Image, ...], datetime | None]:
    """Return the objects to write, the images of the event, and the time when their URLs expire (None: never)."""
    objects: list[StoredObject] = []
    images: list[Image] = []
    expires_at: datetime | None = None
    for picture in pictures:
        name = picture_name(picture.format, picture.rank, picture.media_type)
        item = StoredObject(name, picture.content, picture.media_type)
        url, expires_at = store.link(prefix + item.name)
        objects.append(item)
        images.append(_image(picture, url, store.uri(prefix + item.name)))
    return objects, tuple(images), expires_at


def _image(picture: Picture, url: str, uri: str) -> Image:
    return Image(
        rank=picture.rank,
        url=url,
        s3_uri=uri,
        format=picture.format,
        width=picture.width,
        height=picture.height,
        media_type=picture.media_type,
        bytes=len(picture.content),
        sha256=hashlib.sha256(picture.content).hexdigest(),
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
