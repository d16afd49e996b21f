"""A product to its concept: learned, stored, made current, announced; who waited for it is released."""

from __future__ import annotations

import hashlib
from pathlib import Path

import structlog

from models.briefs import placeholder
from models.errors import Refused
from schemas.events import Cost, CreativeRejected, ProductReady, ProductRegistered, Source
from streams.messages import Headers, Outcome
from streams.products.thresholds import finite, too_weak
from streams.products.training_job import SAFETENSORS, Request, delete_checkpoints, run_training
from streams.requests import Tools, request_id, usable_concept
from streams.scratch import workdir
from streams.store.concepts import CurrentConcept, concept_name, make_current, weights_of
from streams.store.keys import concept_prefix, manifest_key, parked_prefix
from streams.store.manifests import (
    ObjectSet,
    build_manifest,
    commit,
    event_recipe,
    now,
    read_outcome,
    stored,
    traceparent,
)
from streams.store.parked import parked

log = structlog.get_logger(__name__)


async def train_product(event: ProductRegistered, source: Source, tools: Tools, headers: Headers = ()) -> Outcome:
    """Return the outcome of a registration, once its concept is current and what was parked is released.

    Raises what store, publisher and lane raise, and CannotLearn.
    """
    request = _request(event, source, tools, headers)
    standing = await tools.store.get(manifest_key(request.prefix))
    if standing is not None:
        outcome = read_outcome(standing)
    else:
        learned = await _learned(request, tools)
        outcome = await commit(tools.store, request.prefix, lambda: learned)
    await delete_checkpoints(request, tools.store)
    if outcome.topic == "product_ready":
        await make_current(tools.store, _concept_of(request, ProductReady.model_validate_json(outcome.value), tools))
        await _release(request, tools)
    return outcome


def _request(event: ProductRegistered, source: Source, tools: Tools, headers: Headers) -> Request:
    """Name the request; its id covers the settings that decide it, so other ones may come to another verdict."""
    training, fingerprint = tools.settings.training, tools.device.ready.recipe.fingerprint
    decisive = hashlib.sha256(training.decisive(event.method).encode()).hexdigest()
    found = request_id(event.event_id, f"{fingerprint}|{decisive}", tools.settings.delivery.regeneration)
    prefix = concept_prefix(event.product_id, found)
    return Request(event, source, headers, found, prefix, workdir(training) / "training" / found)


async def _learned(request: Request, tools: Tools) -> ObjectSet:
    """Return what is to be stored: samples and manifest, or the manifest of a refusal. The concept itself is stored."""
    try:
        learned = await run_training(request, tools)
    except Refused as refusal:
        return await _refusal(request, refusal, {}, tools)
    if weak := too_weak(learned.scores, tools.settings.training):
        return await _refusal(request, weak, finite(learned.scores), tools)
    key = request.event.product_id
    concept_key = request.prefix + concept_name(learned.sha256)
    await tools.store.upload(concept_key, Path(learned.path), SAFETENSORS)
    objects, images, ends = stored(learned.pictures, request.prefix, tools.store)
    ready, event = tools.device.ready, request.event
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
        recipe=event_recipe(ready.recipe),
        cost=Cost(device_seconds=learned.device_seconds, candidates=len(images), device=ready.device),
        source=request.source,
        created_at=now(),
        url_expires_at=ends,
    )
    return ObjectSet(objects, build_manifest("product_ready", key, message, request.headers))


async def _release(request: Request, tools: Tools) -> None:
    """Publish the segments that waited for this product once more; remove each when the broker has it."""
    assert tools.publisher is not None, "a trainer's tools hold a publisher"
    async for key, event in parked(tools.store, request.event.product_id):
        trace = (("traceparent", traceparent(event.event_id, request.headers).encode()),)
        await tools.publisher.publish(Outcome("segment_updated", event.segment_id.encode(), event.to_json(), trace))
        await tools.store.delete(key)


def _concept_of(request: Request, ready: ProductReady, tools: Tools) -> CurrentConcept:
    """Return the pointer to a concept. Its offset is that of the first delivery, which a repeat does not change."""
    return CurrentConcept(
        product_id=ready.product_id,
        request_id=ready.request_id,
        occurred_at=request.event.occurred_at,
        offset=ready.source.offset,
        method=ready.method,
        class_noun=ready.class_noun,
        placeholder_token=ready.placeholder_token,
        key=request.prefix + concept_name(ready.concept_sha256),
        sha256=ready.concept_sha256,
        weights=weights_of(tools.device.ready.recipe),
    )


async def _refusal(request: Request, refusal: Refused, scores: dict[str, float], tools: Tools) -> ObjectSet:
    """Return the manifest of a refusal; it says how many segments wait for a product that has no concept yet."""
    key, waiting = request.event.product_id, None
    if await usable_concept(key, tools) is None:
        waiting = len(await tools.store.list(parked_prefix(key)))
        if waiting:
            log.warning("segments go on waiting for a refused product", product_id=key, waiting=waiting)
    message = CreativeRejected(
        request_id=request.id,
        event_id=request.event.event_id,
        product_id=key,
        waiting=waiting,
        code=refusal.code,
        reason=str(refusal),
        scores=scores,
        source=request.source,
        created_at=now(),
    )
    return ObjectSet([], build_manifest("creative_rejected", key, message, request.headers))
