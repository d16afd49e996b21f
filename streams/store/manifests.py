"""The outcome of a request as its manifest keeps it: whoever reads the manifest publishes the same bytes again.

Pictures are written first, the manifest last: it is the commit point of a request.
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
_TRACE = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
Message = CreativeReady | ProductReady | CreativeRejected


class Manifest(Contract):
    """What stands in `manifest.json`: the message exactly as it is published, and what did not become a picture.

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
    """Everything of a request that is to be stored."""

    objects: Sequence[StoredObject]
    manifest: Manifest


async def commit(store: ObjectStore, prefix: str, make: Callable[[], ObjectSet]) -> Outcome:
    """Write what `make` returns, the manifest last; return the outcome that stands (another worker's, if faster).

    Objects of one request have the same bytes whoever writes them, so two writers do each other no harm. Last bits may
    differ between machines, though: so a manifest that came while the pictures were made is looked for first, and the
    set is made while the store is looking.
    """
    key = manifest_key(prefix)
    standing, (made, manifest) = await overlap(store.get(key), lambda: _encoded(make()))
    if standing is not None:
        return read_outcome(standing)
    await asyncio.gather(*(store.put(prefix + item.name, item.content, item.media_type) for item in made.objects))
    if await store.put_if_absent(key, manifest, "application/json"):
        return made.manifest.outcome
    standing = await store.get(key)
    return made.manifest.outcome if standing is None else read_outcome(standing)


def _encoded(made: ObjectSet) -> tuple[ObjectSet, bytes]:
    return made, made.manifest.to_json()


def read_outcome(manifest: bytes) -> Outcome:
    """Return the outcome that a stored manifest holds."""
    return Manifest.model_validate_json(manifest).outcome


def build_manifest(
    topic: OutcomeTopic, key: str, message: Message, parent: Headers, candidates: Iterable[Candidate] = ()
) -> Manifest:
    """Return the manifest of an outcome. parent: the headers of the event that asked for it."""
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
    """Return a child of the parent's trace, or a trace of the request's own where it carries none."""
    span = hashlib.sha256(f"span {request_id}".encode()).hexdigest()[:16]
    for name, value in parent:
        if name == "traceparent" and _TRACE.fullmatch(value):
            _, trace, _, flags = value.decode().split("-")
            return f"00-{trace}-{span}-{flags}"
    trace = hashlib.sha256(f"trace {request_id}".encode()).hexdigest()[:32]
    return f"00-{trace}-{span}-01"


def stored(
    pictures: Iterable[Picture], prefix: str, store: ObjectStore
) -> tuple[list[StoredObject], tuple[Image, ...], datetime | None]:
    """Return the objects to write, how the event names them, and when their URLs end (None: never)."""
    objects: list[StoredObject] = []
    images: list[Image] = []
    ends: datetime | None = None
    for picture in pictures:
        item = StoredObject(picture_name(picture.rank, picture.media_type), picture.content, picture.media_type)
        url, ends = store.link(prefix + item.name)
        objects.append(item)
        images.append(_image(picture, url, store.uri(prefix + item.name)))
    return objects, tuple(images), ends


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


def event_recipe(used: StudioRecipe, words: Mapping[str, str | int] | None = None) -> Recipe:
    """Return the recipe as events tell it. words: what the worker decides of a picture; part of the fingerprint."""
    models = tuple(ModelUsed(role=m.role, id=m.id, revision=m.revision, licence=m.licence) for m in used.models)
    if not words:
        return Recipe(fingerprint=used.fingerprint, models=models, settings=used.settings)
    decisive = json.dumps([used.fingerprint, words], sort_keys=True, ensure_ascii=False)
    fingerprint = hashlib.sha256(decisive.encode()).hexdigest()
    return Recipe(fingerprint=fingerprint, models=models, settings={**used.settings, **words})


def now() -> datetime:
    """Return the time of day in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
