"""The handler of `segment-updated`: from a segment to its pictures, or to its place among the parked segments.

The handler looks for a manifest first and writes one last. A repeated event is therefore answered with the same bytes
and without the device, and if two workers do the same work, the outcome of the faster one stands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from models.briefs import Brief, Concept, Rendering
from models.errors import Refused, StageFailed
from schemas.events import Cost, CreativeReady, CreativeRejected, SegmentUpdated, Source
from streams.messages import Headers, Outcome
from streams.requests import Prompt, Tools, request_id, seeds_from, usable_concept
from streams.settings import Settings
from streams.store.concepts import CurrentConcept, pin, pinned_concept
from streams.store.keys import creative_prefix, manifest_key
from streams.store.manifests import ObjectSet, build_manifest, commit, now, read_outcome, stored
from streams.store.parked import park, unpark
from streams.store.protocol import overlap


async def render_segment(event: SegmentUpdated, source: Source, tools: Tools, headers: Headers = ()) -> Outcome | None:
    """Return the outcome of a segment; None where it is parked until its product has been learned.

    Raises what the store and the lane raise, and InvalidEvent where no prompt can be made.
    """
    request = request_id(event.event_id, tools.recipe.fingerprint, tools.settings.delivery.regeneration)
    prefix = creative_prefix(event.segment_id, request)
    standing, prompt = await overlap(
        tools.store.get(manifest_key(prefix)),
        lambda: tools.prompter.compose(event) if event.product_id is None else None,
    )
    if standing is not None:
        return read_outcome(standing)
    concept = None
    if prompt is None:
        concept = await _pinned_or_parked(event, request, prefix, tools)
        if concept is None:
            return None
        prompt = tools.prompter.compose(event, concept.subject)
    answer = await _rendered(_Request(event, source, headers, request, prefix, prompt, concept), tools)
    return await commit(tools.store, prefix, answer)


@dataclass(frozen=True)
class _Request:
    """A segment on its way. prefix: of its objects' keys."""

    event: SegmentUpdated
    source: Source
    headers: Headers
    id: str
    prefix: str
    prompt: Prompt
    concept: CurrentConcept | None


async def _pinned_or_parked(event: SegmentUpdated, request: str, prefix: str, tools: Tools) -> CurrentConcept | None:
    """Return the concept that every delivery of the request shows; None where the segment is parked."""
    concept = await pinned_concept(tools.store, prefix)
    if concept is None:
        assert event.product_id is not None
        concept = await _concept_or_parked(event, event.product_id, request, tools)
        if concept is not None:
            concept = await pin(tools.store, prefix, concept)
    return concept


async def _concept_or_parked(
    event: SegmentUpdated, product_id: str, request: str, tools: Tools
) -> CurrentConcept | None:
    """Return the product's concept; park the segment where there is none.

    The marker is written before the second look, and the trainer points to a concept before it looks for markers:
    at least one of the two sees the other.
    """
    concept = await usable_concept(product_id, tools)
    if concept is None:
        await park(tools.store, event, product_id, request)
        concept = await usable_concept(product_id, tools)
        if concept is not None:
            await unpark(tools.store, product_id, request)
    return concept


async def _rendered(request: _Request, tools: Tools) -> Callable[[], ObjectSet]:
    """Return what makes the set that is to be stored: pictures and manifest, or the manifest of a refusal."""
    try:
        async with _on_disk(request.concept, tools) as concept:
            rendering = await tools.device.render(_brief(request, concept, tools.settings))
    except Refused as refusal:
        return partial(_refused, request, refusal)
    if not rendering.pictures:
        raise StageFailed(stage="render", kind="Rendering", detail="it holds no picture")
    return partial(_shown, request, rendering, tools)


def _shown(request: _Request, rendering: Rendering, tools: Tools) -> ObjectSet:
    key, prompt, current, ready = request.event.segment_id, request.prompt, request.concept, tools.device.ready
    objects, images, ends = stored(rendering.pictures, request.prefix, tools.store)
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
        images=images,
        recipe=tools.recipe,
        cost=Cost(device_seconds=rendering.device_seconds, candidates=len(rendering.candidates), device=ready.device),
        source=request.source,
        created_at=now(),
        url_expires_at=ends,
    )
    return ObjectSet(objects, build_manifest("creative_ready", key, message, request.headers, rendering.candidates))


@asynccontextmanager
async def _on_disk(current: CurrentConcept | None, tools: Tools) -> AsyncIterator[Concept | None]:
    if current is None:
        yield None
        return
    async with tools.files.local_copy(tools.store, current, tools.settings.training) as concept:
        yield concept


def _brief(request: _Request, concept: Concept | None, settings: Settings) -> Brief:
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


def _refused(request: _Request, refusal: Refused) -> ObjectSet:
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
