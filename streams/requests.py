"""Request ids, seeds and tools: what both handlers need."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

import structlog

from models.briefs import Brief, Rendering, StudioReady, StudioRecipe, TrainingJob, TrainingResult
from schemas.base import MAX_SEED
from schemas.events import ProductRegistered, Recipe, SegmentUpdated
from streams.device.jobs import OnCheckpoint
from streams.kafka.decoding import EventLimits, utc_now
from streams.messages import OutcomePublisher
from streams.settings import Settings, StudioSettings
from streams.store.concept_files import ConceptFiles
from streams.store.concepts import CurrentConcept, current_concept, diffusion_revision
from streams.store.manifests import event_recipe
from streams.store.protocol import ObjectStore
from streams.store.signed_objects import InvalidObjects, SignedObjects, Signer

log = structlog.get_logger(__name__)

NAMESPACE = uuid.UUID("6b0a1f52-0c3e-5a57-9a5c-0d6f1f0c7a11")  # a new value would change every request id


class Device(Protocol):
    """The part of `streams.device.client.DeviceClient` that handlers use."""

    @property
    def ready(self) -> StudioReady:
        """The description of the loaded studio."""
        ...

    async def render(self, brief: Brief) -> Rendering:
        """Return the pictures of a brief."""
        ...

    async def train(self, training_job: TrainingJob, on_checkpoint: OnCheckpoint) -> TrainingResult:
        """Return the result of a training job."""
        ...


@dataclass(frozen=True)
class ShownProduct:
    """A product in a prompt. words: its name there (`models.subjects.subject`). class_noun: what it is."""

    words: str
    class_noun: str


@dataclass(frozen=True)
class Prompt:
    """A prompt and its rationale. tokens: number of tokens in `text`, start and end tokens included."""

    text: str
    negative: str
    rationale: tuple[str, ...]
    tokens: int
    template_version: int


class PromptWriter(Protocol):
    """Turns a segment into a prompt."""

    @property
    def recipe_settings(self) -> Mapping[str, str | int]:
        """The settings that decide a prompt apart from the event and the tokenizer; part of the recipe."""
        ...

    def compose(self, event: SegmentUpdated, product: ShownProduct | None = None) -> Prompt:
        """Return the prompt. Raises InvalidEvent if no field has a word."""
        ...


@dataclass(frozen=True)
class Tools:
    """Everything a handler works with. publisher: releases parked segments; only the products handler needs it."""

    device: Device
    store: ObjectStore
    prompter: PromptWriter
    settings: Settings
    publisher: OutcomePublisher | None = None
    files: ConceptFiles = field(default_factory=ConceptFiles)
    invalid: InvalidObjects = field(default_factory=InvalidObjects)
    clock: Callable[[], datetime] = utc_now

    @property
    def limits(self) -> EventLimits:
        """What an event may ask of this deployment."""
        return EventLimits(self.settings, self.clock)

    @cached_property
    def signed(self) -> SignedObjects:
        """The signed objects of the store. Raises SigningKeyMissing."""
        return SignedObjects(self.store, Signer.from_settings(self.settings.storage), self.invalid)

    @cached_property
    def recipe(self) -> Recipe:
        """Everything that decides a segment's pictures apart from its event: the studio, the prompts, the counts."""
        return segment_recipe(self.device.ready.recipe, self.prompter.recipe_settings, self.settings.studio)


def segment_recipe(
    studio_recipe: StudioRecipe, prompt_settings: Mapping[str, str | int], settings: StudioSettings
) -> Recipe:
    """Return the recipe in `creative-ready`: that of the studio, with the prompts and counts of the worker."""
    counts = {"candidates": settings.candidates, "images": settings.images}
    return event_recipe(studio_recipe, {**prompt_settings, **counts})


def request_id(event: SegmentUpdated | ProductRegistered, fingerprint: str, regeneration: int) -> str:
    """Return the request's id: the same id and content under the same recipe are the same request."""
    content = hashlib.sha256(event.content().encode()).hexdigest()
    return derived_id(f"{event.event_id}|{content}|{fingerprint}|{regeneration}")


def derived_id(text: str) -> str:
    """Return the UUID that derives from `text`."""
    return str(uuid.uuid5(NAMESPACE, text))


def seeds_from(text: str, count: int) -> tuple[int, ...]:
    """Return `count` seeds in [0, MAX_SEED]; each depends only on `text` and on its own index."""
    digests = (hashlib.sha256(f"{text}|{index}".encode()).digest() for index in range(count))
    return tuple(int.from_bytes(digest[:8], "big") & MAX_SEED for digest in digests)


async def usable_concept(product_id: str, tools: Tools) -> CurrentConcept | None:
    """Return the product's current concept, or None if there is none or it was trained on other weights."""
    concept = await current_concept(tools.signed, product_id, tools.limits.latest)
    if concept is None or concept.weights == diffusion_revision(tools.device.ready.recipe):
        return concept
    message = "concept trained on other weights: register the product again"
    log.warning(message, product_id=product_id, weights=concept.weights)
    return None
