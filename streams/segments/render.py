"""The handler of `segment-updated`: renders a segment's pictures, or parks the segment until its product is trained.

The handler reads the manifest first and writes it last. A repeated event therefore gets the same bytes without any work
on the device. If two workers render the same request, the manifest of the faster one wins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from models.briefs import Brief, Concept, Rendering
from models.errors import Refused, StageFailed
from schemas.events import Cost, CreativeReady, CreativeRejected, SegmentUpdated, Source
from streams.event_line import add_seconds, note, timed
from streams.messages import Headers, Outcome
from streams.requests import Prompt, ShownProduct, Tools, request_id, seeds_from, usable_concept
from streams.settings import Settings
from streams.store.concepts import CurrentConcept, pin_concept, pinned_concept
from streams.store.keys import creative_prefix, parked_key
from streams.store.manifests import ObjectSet, build_manifest, commit, now, prepare_pictures, read_manifest
from streams.store.parked import expired_since, park_segment, unpark_segment
from streams.store.protocol import overlap


async def render_segment(event: SegmentUpdated, source: Source, tools: Tools, headers: Headers = ()) -> Outcome | None:
    """Return the outcome of a segment, or None if the segment is parked until its product is trained.

    Raises the errors of the store and the device process, and InvalidEvent if the event has no words for a prompt.
    """
    identity = request_id(event, tools.recipe.fingerprint, tools.settings.delivery.regeneration)
    prefix = creative_prefix(event.segment_id, identity)
    note(request_id=identity, stored=tools.store.uri(prefix))
    with timed("find"):
        existing, prompt = await overlap(
            read_manifest(tools.signed, prefix),
            lambda: tools.prompter.compose(event) if event.product_id is None else None,
        )
    if existing is not None:
        note(repeated=True)
        return existing
    concept = None
    if prompt is None:
        try:
            with timed("concept"):
                concept = await _pin_or_park(event, identity, prefix, tools, headers)
        except ProductNotReady as refusal:
            request = _Request(event, source, headers, identity, prefix)
            return await commit(tools.signed, prefix, partial(_rejected_set, request, refusal))
        if concept is None:
            note(stored=tools.store.uri(parked_key(str(event.product_id), identity)))
            return None
        prompt = tools.prompter.compose(event, ShownProduct(concept.subject, concept.class_noun))
    make = await _render(_RenderRequest(event, source, headers, identity, prefix, prompt, concept), tools)
    with timed("store"):
        return await commit(tools.signed, prefix, make)


class ProductNotReady(Refused):
    """The segment has waited for the product {product_id} since before {since}, and the product has no usable concept.
    Register the product, then send the segment with a new event_id.
    """

    code = "product_not_ready"


@dataclass(frozen=True)
class _Request:
    """A segment with its request id. prefix: of its object keys."""

    event: SegmentUpdated
    source: Source
    headers: Headers
    id: str
    prefix: str


@dataclass(frozen=True)
class _RenderRequest(_Request):
    """A request with its prompt and concept."""

    prompt: Prompt
    concept: CurrentConcept | None


async def _pin_or_park(
    event: SegmentUpdated, request_id: str, prefix: str, tools: Tools, headers: Headers
) -> CurrentConcept | None:
    """Return the concept that every delivery of the request shows, or None if the segment is parked.

    Raises ProductNotReady instead of parking a segment that has waited for too long.
    """
    pinned = await pinned_concept(tools.signed, prefix)
    if pinned is not None:
        return pinned
    assert event.product_id is not None
    since = expired_since(tools.signed.signer, event, headers)
    if since is None:
        concept = await _find_or_park(event, event.product_id, request_id, tools)
    else:
        concept = await usable_concept(event.product_id, tools)
        if concept is None:
            raise ProductNotReady(product_id=event.product_id, since=since.isoformat())
    return None if concept is None else await pin_concept(tools.signed, prefix, concept)


async def _find_or_park(event: SegmentUpdated, product_id: str, request_id: str, tools: Tools) -> CurrentConcept | None:
    """Return the product's concept. If there is none, park the segment and return None.

    This worker parks the segment before it checks for a concept again. The trainer makes a concept current before it
    lists the parked segments. At least one of them therefore sees the other's write.
    """
    concept = await usable_concept(product_id, tools)
    if concept is None:
        await park_segment(tools.signed, event, product_id, request_id)
        concept = await usable_concept(product_id, tools)
        if concept is not None:
            await unpark_segment(tools.signed, product_id, request_id)
    return concept


async def _render(request: _RenderRequest, tools: Tools) -> Callable[[], ObjectSet]:
    """Render. Return a function that builds the set to store: pictures and manifest, or the manifest of a rejection."""
    try:
        async with _local_concept(request.concept, tools) as concept:
            with timed("device"):
                rendering = await tools.device.render(_brief(request, concept, tools.settings))
    except Refused as refusal:
        return partial(_rejected_set, request, refusal)
    if not rendering.pictures:
        raise StageFailed(stage="render", kind="Rendering", detail="the device returned no picture")
    add_seconds(rendering.stage_seconds)
    note(candidates=len(rendering.candidates), pictures=len(rendering.pictures))
    return partial(_ready_set, request, rendering, tools)


def _ready_set(request: _RenderRequest, rendering: Rendering, tools: Tools) -> ObjectSet:
    key, prompt, current, ready = request.event.segment_id, request.prompt, request.concept, tools.device.ready
    objects, images, url_expires_at = prepare_pictures(rendering.pictures, request.prefix, tools.store)
    message = CreativeReady(
        request_id=request.id,
        event_id=request.event.event_id,
        segment_id=key,
        product_id=request.event.product_id,
        concept_uri=tools.store.uri(current.key) if current else None,
        concept_sha256=current.sha256 if current else None,
        prompt=prompt.text,
        negative_prompt=prompt.negative,
        rationale=prompt.rationale,
        formats=request.event.formats,
        images=images,
        recipe=tools.recipe,
        cost=Cost(device_seconds=rendering.device_seconds, candidates=len(rendering.candidates), device=ready.device),
        source=request.source,
        created_at=now(),
        url_expires_at=url_expires_at,
    )
    return ObjectSet(objects, build_manifest("creative_ready", key, message, request.headers, rendering.candidates))


@asynccontextmanager
async def _local_concept(current: CurrentConcept | None, tools: Tools) -> AsyncIterator[Concept | None]:
    if current is None:
        yield None
        return
    async with tools.files.local_copy(tools.store, current, tools.settings.training) as concept:
        yield concept


def _brief(request: _RenderRequest, concept: Concept | None, settings: Settings) -> Brief:
    event, prompt, studio = request.event, request.prompt, settings.studio
    candidates = event.candidates or studio.candidates
    return Brief(
        request_id=request.id,
        prompt=prompt.text,
        negative_prompt=prompt.negative,
        seeds=seeds_from(request.id if event.seed is None else str(event.seed), candidates),
        keep=min(event.images or studio.images, candidates),
        formats=event.formats,
        concept=concept,
    )


def _rejected_set(request: _Request, refusal: Refused) -> ObjectSet:
    key = request.event.segment_id
    message = CreativeRejected(
        request_id=request.id,
        event_id=request.event.event_id,
        segment_id=key,
        product_id=request.event.product_id,
        code=refusal.code,
        reason=str(refusal),
        source=request.source,
        created_at=now(),
    )
    return ObjectSet([], build_manifest("creative_rejected", key, message, request.headers))
