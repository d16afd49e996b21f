"""A product to its concept: photos fetched, learned in the device process, stored, announced; who waited is released.

Checkpoints lie in the object store, so whoever owns the partition next goes on from the newest.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.briefs import Learned, Lesson, placeholder
from models.errors import ConceptTooWeak, Refused
from schemas.events import Cost, CreativeRejected, ProductReady, ProductRegistered, Source
from streams.concepts import CurrentConcept, concept_name, make_current, parked, workdir
from streams.failures import AddressForbidden, ObjectMissing, ObjectTooLarge, code_of
from streams.fetching import fetch_photos
from streams.handlers import Tools, request_id, seeds_from
from streams.keys import checkpoint_prefix, concept_prefix, manifest_key
from streams.messages import Headers, Outcome
from streams.objects import ObjectStore, StoredObject, put_set
from streams.outcomes import Manifest, manifest_of, now, recipe_of, stored, traceparent

_SAFETENSORS = "application/octet-stream"
_UNUSABLE = (Refused, AddressForbidden, ObjectMissing, ObjectTooLarge)


@dataclass(frozen=True)
class _Request:
    """A product on its way. prefix: of its objects' keys; folder: this machine's scratch folder for it."""

    event: ProductRegistered
    source: Source
    headers: Headers
    id: str
    prefix: str
    folder: Path


async def learn_product(event: ProductRegistered, source: Source, tools: Tools, headers: Headers = ()) -> Outcome:
    """Return the outcome of a registration, once its concept is current and what was parked is released.

    Raises what store, publisher and lane raise, and PhotosUnavailable.
    """
    request = _request(event, source, tools, headers)
    standing = await tools.store.get(manifest_key(request.prefix))
    if standing is None:
        objects, manifest = await _learned(request, tools)
        standing = await put_set(tools.store, request.prefix, objects, manifest.to_json())
        shutil.rmtree(request.folder, ignore_errors=True)
        await _forget_checkpoints(request, tools.store)
    outcome = Manifest.model_validate_json(standing).outcome
    if outcome.topic == "product_ready":
        await make_current(tools.store, _concept_of(request, ProductReady.model_validate_json(outcome.value)))
        await _release(request, tools)
    return outcome


def _request(event: ProductRegistered, source: Source, tools: Tools, headers: Headers) -> _Request:
    found = request_id(event.event_id, tools.lane.ready.recipe.fingerprint, tools.settings.delivery.regeneration)
    prefix = concept_prefix(event.product_id, found)
    return _Request(event, source, headers, found, prefix, workdir(tools.settings.training) / "lessons" / found)


async def _learned(request: _Request, tools: Tools) -> tuple[list[StoredObject], Manifest]:
    """Return what is to be stored: samples and manifest, or the manifest of a refusal. The concept itself is stored."""
    key = request.event.product_id
    try:
        learned = await _taught(request, tools)
    except _UNUSABLE as refusal:
        return [], manifest_of("creative_rejected", key, _rejected(request, refusal, {}), request.headers)
    if weak := _too_weak(learned, tools.settings.training.min_fidelity):
        return [], manifest_of("creative_rejected", key, _rejected(request, weak, learned.scores), request.headers)
    concept_key = request.prefix + concept_name(learned.sha256)
    await tools.store.upload(concept_key, Path(learned.path), _SAFETENSORS)
    objects, images, ends = stored(learned.pictures, request.prefix, tools.store)
    ready, event = tools.lane.ready, request.event
    message = ProductReady(
        request_id=request.id,
        event_id=event.event_id,
        product_id=key,
        method=event.method,
        concept_uri=tools.store.uri(concept_key),
        concept_sha256=learned.sha256,
        placeholder_token=placeholder(key, event.method),
        class_noun=event.class_noun,
        steps=learned.steps,
        scores=learned.scores,
        images=images,
        recipe=recipe_of(ready.recipe),
        cost=Cost(device_seconds=learned.device_seconds, candidates=len(images), device=ready.device),
        source=request.source,
        created_at=now(),
        url_expires_at=ends,
    )
    return objects, manifest_of("product_ready", key, message, request.headers)


async def _taught(request: _Request, tools: Tools) -> Learned:
    training, event = tools.settings.training, request.event
    photos = await fetch_photos(event.images, tools.store, training)
    await _resume(request, tools.store)
    lesson = Lesson(
        request_id=request.id,
        product_id=event.product_id,
        class_noun=event.class_noun,
        placeholder_token=placeholder(event.product_id, event.method),
        method=event.method,
        photos=photos,
        seed=seeds_from(request.id, 1)[0] if event.seed is None else event.seed,
        workdir=str(request.folder),
        steps=event.steps,
        learning_rate=training.learning_rate,
        prior_loss_weight=training.prior_loss_weight,
        checkpoint_every=training.checkpoint_every,
        class_cache=str(request.folder.parent.parent / "class-images"),
    )

    async def keep(_: int, path: Path) -> None:
        await _keep_checkpoint(request, tools.store, path)

    return await tools.lane.learn(lesson, keep)


async def _keep_checkpoint(request: _Request, store: ObjectStore, path: Path) -> None:
    """Upload a checkpoint, then remove the older ones."""
    prefix = checkpoint_prefix(request.event.product_id, request.id)
    try:
        await store.upload(prefix + path.name, path, _SAFETENSORS)
    except FileNotFoundError:
        return  # the learner has written a newer one meanwhile and removed this
    for key in await store.list(prefix):
        if key < prefix + path.name:
            await store.delete(key)


async def _resume(request: _Request, store: ObjectStore) -> None:
    """Bring the newest checkpoint here, unless one as new is here already."""
    prefix = checkpoint_prefix(request.event.product_id, request.id)
    keys = await store.list(prefix)
    if not keys:
        return
    name = keys[-1].removeprefix(prefix)
    request.folder.mkdir(parents=True, exist_ok=True)
    if not any(path.name >= name for path in request.folder.glob(f"checkpoint-*{Path(name).suffix}")):
        arriving = request.folder / f"{name}.arriving"
        if await store.download(keys[-1], arriving):
            arriving.replace(request.folder / name)


async def _forget_checkpoints(request: _Request, store: ObjectStore) -> None:
    for key in await store.list(checkpoint_prefix(request.event.product_id, request.id)):
        await store.delete(key)


async def _release(request: _Request, tools: Tools) -> None:
    """Publish the segments that waited for this product once more; remove each when the broker has it."""
    assert tools.publisher is not None, "a trainer's tools hold a publisher"
    for key, event in await parked(tools.store, request.event.product_id):
        trace = (("traceparent", traceparent(event.event_id, request.headers).encode()),)
        await tools.publisher.publish(Outcome("segment_updated", event.segment_id.encode(), event.to_json(), trace))
        await tools.store.delete(key)


def _too_weak(learned: Learned, least: float | None) -> ConceptTooWeak | None:
    fidelity = learned.scores.get("fidelity")
    if least is None or fidelity is None or fidelity >= least:
        return None
    return ConceptTooWeak(detail=f"fidelity {fidelity:.3f}, demanded {least:.3f}")


def _concept_of(request: _Request, ready: ProductReady) -> CurrentConcept:
    return CurrentConcept(
        product_id=ready.product_id,
        request_id=ready.request_id,
        occurred_at=request.event.occurred_at,
        method=ready.method,
        class_noun=ready.class_noun,
        placeholder_token=ready.placeholder_token,
        key=request.prefix + concept_name(ready.concept_sha256),
        sha256=ready.concept_sha256,
    )


def _rejected(request: _Request, refusal: Exception, scores: dict[str, float]) -> CreativeRejected:
    return CreativeRejected(
        request_id=request.id,
        event_id=request.event.event_id,
        product_id=request.event.product_id,
        code=code_of(refusal),
        reason=str(refusal),
        scores=scores,
        source=request.source,
        created_at=now(),
    )
