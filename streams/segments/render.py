"""What is done for an event: no Faust, no MinIO, only the words of the two.

The manifest is looked at first and written last. So an event that comes again is answered with the same bytes without
the device, and of two workers that do the same work the faster one's outcome stands.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol

import structlog

from models.briefs import Brief, Concept, Learned, Lesson, Rendering, StudioReady
from models.errors import Refused, StageFailed
from schemas.events import Cost, CreativeReady, CreativeRejected, Recipe, SegmentUpdated, Source
from streams.device.jobs import OnCheckpoint
from streams.messages import Headers, Outcome
from streams.segments.prompting import Prompt, Prompter
from streams.settings import Settings
from streams.store.concepts import (
    ConceptFiles,
    CurrentConcept,
    current_concept,
    park,
    pin,
    pinned_concept,
    unpark,
    weights_of,
)
from streams.store.keys import creative_prefix, manifest_key
from streams.store.manifests import ObjectSet, manifest_of, now, outcome_in, put_set, recipe_of, stored
from streams.store.protocol import ObjectStore, meanwhile

log = structlog.get_logger(__name__)

NAMESPACE = uuid.UUID("6b0a1f52-0c3e-5a57-9a5c-0d6f1f0c7a11")  # of request ids; another one would redo everything


class Device(Protocol):
    """What handlers need of `streams.device.client.Lane`."""

    @property
    def ready(self) -> StudioReady:
        """What the studio said when it was loaded."""
        ...

    async def render(self, brief: Brief) -> Rendering:
        """Return the pictures of a brief."""
        ...

    async def learn(self, lesson: Lesson, on_checkpoint: OnCheckpoint) -> Learned:
        """Return the learned product."""
        ...


class Publishes(Protocol):
    """What handlers need of the publisher."""

    async def publish(self, outcome: Outcome) -> None:
        """Publish; return once the broker has confirmed."""
        ...


@dataclass(frozen=True)
class Tools:
    """Everything a handler works with. publisher: releases parked segments; only those who learn products need it."""

    lane: Device
    store: ObjectStore
    prompter: Prompter
    settings: Settings
    publisher: Publishes | None = None
    files: ConceptFiles = field(default_factory=ConceptFiles)

    @cached_property
    def recipe(self) -> Recipe:
        """What decides the pictures of a segment apart from its event: the studio, the prompts, and how many."""
        studio = self.settings.studio
        counts = {"candidates": studio.candidates, "images": studio.images}
        return recipe_of(self.lane.ready.recipe, {**self.prompter.words, **counts})


def request_id(event_id: str, fingerprint: str, regeneration: int) -> str:
    """Return the request's id: the same event under the same recipe is the same request."""
    return str(uuid.uuid5(NAMESPACE, f"{event_id}|{fingerprint}|{regeneration}"))


def seeds_from(text: str, count: int) -> tuple[int, ...]:
    """Return `count` seeds in [0, 2^63) that depend on `text` and on their own place alone."""
    digests = (hashlib.sha256(f"{text}|{index}".encode()).digest() for index in range(count))
    return tuple(int.from_bytes(digest[:8], "big") >> 1 for digest in digests)


async def render_segment(event: SegmentUpdated, source: Source, tools: Tools, headers: Headers = ()) -> Outcome | None:
    """Return the outcome of a segment; None where it is parked until its product has been learned.

    Raises what the store and the lane raise, and InvalidEvent where no prompt can be made.
    """
    request = request_id(event.event_id, tools.recipe.fingerprint, tools.settings.delivery.regeneration)
    prefix = creative_prefix(event.segment_id, request)
    standing, prompt = await meanwhile(
        tools.store.get(manifest_key(prefix)),
        lambda: tools.prompter.compose(event) if event.product_id is None else None,
    )
    if standing is not None:
        return outcome_in(standing)
    concept = None
    if prompt is None:
        concept = await _pinned_or_parked(event, request, prefix, tools)
        if concept is None:
            return None
        prompt = tools.prompter.compose(event, concept.subject)
    answer = await _rendered(_Request(event, source, headers, request, prefix, prompt, concept), tools)
    return await put_set(tools.store, prefix, answer)


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


async def usable_concept(product_id: str, tools: Tools) -> CurrentConcept | None:
    """Return the product's concept; one that other weights learned shows nothing with ours, and counts as none."""
    concept = await current_concept(tools.store, product_id)
    if concept is None or concept.weights == weights_of(tools.lane.ready.recipe):
        return concept
    log.warning("concept of other weights: register the product again", product_id=product_id, weights=concept.weights)
    return None


async def _rendered(request: _Request, tools: Tools) -> Callable[[], ObjectSet]:
    """Return what makes the set that is to be stored: pictures and manifest, or the manifest of a refusal."""
    try:
        async with _on_disk(request.concept, tools) as concept:
            rendering = await tools.lane.render(_brief(request, concept, tools.settings))
    except Refused as refusal:
        return partial(_refused, request, refusal)
    if not rendering.pictures:
        raise StageFailed(stage="render", kind="Rendering", detail="it holds no picture")
    return partial(_shown, request, rendering, tools)


def _shown(request: _Request, rendering: Rendering, tools: Tools) -> ObjectSet:
    key, prompt, current, ready = request.event.segment_id, request.prompt, request.concept, tools.lane.ready
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
    return ObjectSet(objects, manifest_of("creative_ready", key, message, request.headers, rendering.candidates))


@asynccontextmanager
async def _on_disk(current: CurrentConcept | None, tools: Tools) -> AsyncIterator[Concept | None]:
    if current is None:
        yield None
        return
    async with tools.files.brought(tools.store, current, tools.settings.training) as concept:
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
    return ObjectSet([], manifest_of("creative_rejected", key, message, request.headers))
