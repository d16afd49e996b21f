"""The handler of `product-registered`: trains a concept, stores it, makes it current and releases parked segments."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from models.errors import Refused
from models.subjects import placeholder
from schemas.events import Cost, CreativeRejected, ProductReady, ProductRegistered, Source
from streams.event_line import note, timed
from streams.messages import Headers, Outcome
from streams.products.release import release_parked
from streams.products.thresholds import check_thresholds, finite_scores
from streams.products.training_job import SAFETENSORS, TrainingRequest, delete_checkpoints, run_training
from streams.requests import Tools, request_id, usable_concept
from streams.scratch import scratch_folder
from streams.store.concepts import CurrentConcept, diffusion_revision, make_current
from streams.store.keys import concept_name, concept_prefix
from streams.store.manifests import (
    ObjectSet,
    build_manifest,
    commit,
    event_recipe,
    now,
    prepare_pictures,
    read_manifest,
)
from streams.store.parked import parked_keys

log = structlog.get_logger(__name__)


async def train_product(event: ProductRegistered, source: Source, tools: Tools, headers: Headers = ()) -> Outcome:
    """Return a registration's outcome after its concept is current. Its follow-up releases the parked segments.

    Raises TrainingUnsupportedByWeights and the errors of the store, the publisher and the device process.
    """
    request = _training_request(event, source, tools, headers)
    note(request_id=request.id, method=event.method, stored=tools.store.uri(request.prefix))
    outcome = await read_manifest(tools.signed, request.prefix)
    if outcome is None:
        trained = await _train(request, tools)
        with timed("store"):
            outcome = await commit(tools.signed, request.prefix, lambda: trained)
    else:
        note(repeated=True)
    await delete_checkpoints(request, tools.store)
    if outcome.topic == "product_ready":
        ready = ProductReady.model_validate_json(outcome.value)
        await make_current(tools.signed, _concept_pointer(request, ready, tools), tools.limits.latest)
        publisher = tools.publisher
        assert publisher is not None, "a trainer's tools hold a publisher"
        release = partial(release_parked, tools.signed, publisher, event.product_id, headers)
        outcome = replace(outcome, follow_up=release)  # after `product-ready`: there may be thousands
    return outcome


def _training_request(event: ProductRegistered, source: Source, tools: Tools, headers: Headers) -> TrainingRequest:
    """Return the request. Its id covers the settings that decide the outcome, so other settings train again."""
    training, fingerprint = tools.settings.training, tools.device.ready.recipe.fingerprint
    decisive = hashlib.sha256(training.decisive(event.method).encode()).hexdigest()
    identity = request_id(event, f"{fingerprint}|{decisive}", tools.settings.delivery.regeneration)
    prefix = concept_prefix(event.product_id, identity)
    return TrainingRequest(event, source, headers, identity, prefix, scratch_folder(training, "training") / identity)


async def _train(request: TrainingRequest, tools: Tools) -> ObjectSet:
    """Train and upload the concept. Return its samples and manifest, or the manifest of a rejection."""
    try:
        trained = await run_training(request, tools)
    except Refused as refusal:
        return await _rejection(request, refusal, {}, tools)
    if weak := check_thresholds(trained.scores, tools.settings.training):
        return await _rejection(request, weak, finite_scores(trained.scores), tools)
    key = request.event.product_id
    concept_key = request.prefix + concept_name(trained.sha256)
    note(steps=trained.steps, pictures=len(trained.pictures), scores=finite_scores(trained.scores))
    with timed("upload"):
        await tools.store.upload(concept_key, Path(trained.path), SAFETENSORS)
    objects, images, url_expires_at = prepare_pictures(trained.pictures, request.prefix, tools.store)
    ready, event = tools.device.ready, request.event
    message = ProductReady(
        request_id=request.id,
        event_id=event.event_id,
        product_id=key,
        method=event.method,
        concept_uri=tools.store.uri(concept_key),
        concept_sha256=trained.sha256,
        placeholder_token=placeholder(key, event.method),
        class_noun=event.class_noun,
        steps=trained.steps,
        scores=trained.scores,
        images=images,
        recipe=event_recipe(ready.recipe),
        cost=Cost(device_seconds=trained.device_seconds, candidates=len(images), device=ready.device),
        source=request.source,
        created_at=now(),
        url_expires_at=url_expires_at,
    )
    return ObjectSet(objects, build_manifest("product_ready", key, message, request.headers))


def _concept_pointer(request: TrainingRequest, ready: ProductReady, tools: Tools) -> CurrentConcept:
    """Return the pointer to a concept, with the offset of the first delivery: a redelivery must not change it."""
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
        weights=diffusion_revision(tools.device.ready.recipe),
    )


async def _rejection(request: TrainingRequest, refusal: Refused, scores: dict[str, float], tools: Tools) -> ObjectSet:
    """Return the manifest of a rejection, with the number of parked segments if the product has no concept yet."""
    key, waiting = request.event.product_id, None
    if await usable_concept(key, tools) is None:
        waiting = len(await parked_keys(tools.signed, key))
        if waiting:
            log.warning("parked segments still wait for a rejected product", product_id=key, waiting=waiting)
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
