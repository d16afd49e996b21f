"""Both handlers on a store in memory and a fake device, with example events."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.messages import Headers, Outcome
from streams.products.train import train_product
from streams.requests import Tools
from streams.segments.prompting import Prompter
from streams.segments.render import render_segment
from streams.settings import Settings
from streams.store.concepts import CurrentConcept, concept_name
from tests import fakes
from tests.fakes import FakeDevice, MemoryStore

SOURCE = Source(topic="product-registered", partition=0, offset=5)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class RecordingPublisher:
    """Records every outcome. Raises ConnectionError instead while `down` is set."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.down = False

    async def publish(self, outcome: Outcome) -> None:
        if self.down:
            raise ConnectionError
        self.outcomes.append(outcome)


class World:
    """Everything that the handlers need. training: changes to the training settings."""

    def __init__(self, tmp_path: Path, **training: Any) -> None:
        self.device, self.store, self.publisher = FakeDevice(), MemoryStore(), RecordingPublisher()
        self.folder = tmp_path / "scratch"
        settings = Settings.model_validate({"training": {"workdir": str(self.folder)} | training})
        prompter = Prompter(fakes.save_word_tokenizer(tmp_path), 77, "")
        self.tools = Tools(self.device, self.store, prompter, settings, self.publisher)
        for number in range(1, 6):
            self.store.objects[f"photos/jam/{number}.png"] = f"photo {number}".encode()

    async def train(self, event: ProductRegistered, offset: int = 5) -> Outcome:
        """Handle a registration as `streams.kafka.delivery` does. The outcome itself is only returned."""
        outcome = await train_product(event, SOURCE.model_copy(update={"offset": offset}), self.tools)
        if outcome.follow_up is not None:
            await outcome.follow_up()
        return outcome

    async def render(self, event: SegmentUpdated, headers: Headers = ()) -> Outcome | None:
        source = Source(topic="segment-updated", partition=0, offset=1)
        return await render_segment(event, source, self.tools, headers)

    def restart(self, revision: str = "1") -> None:
        """Replace the device and tools, as a new worker process would. revision: of its diffusion weights."""
        self.device = FakeDevice(recipe=fakes.recipe(revision))
        self.tools = Tools(self.device, self.store, self.tools.prompter, self.tools.settings, self.publisher)

    def set(self, **training: Any) -> None:
        """Change training settings."""
        changed = self.tools.settings.training.model_copy(update=training)
        self.tools = replace(self.tools, settings=self.tools.settings.model_copy(update={"training": changed}))

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith(prefix))


def product(**changes: Any) -> ProductRegistered:
    fields = {
        "event_id": "p1",
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": "jam",
        "name": "Malina",
        "class_noun": "jar of jam",
        "images": [f"s3://creatives/photos/jam/{number}.png" for number in (1, 2, 3)],
    }
    return ProductRegistered.model_validate(fields | changes)


def segment(event_id: str = "s1", **changes: Any) -> SegmentUpdated:
    fields = {
        "event_id": event_id,
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": "breakfast",
        "name": "breakfast lovers",
        "keywords": [{"term": "bread"}],
        "product_id": "jam",
    }
    return SegmentUpdated.model_validate(fields | changes)


def concept(request_id: str, *, minutes: int = 0, offset: int = 0, content: bytes = b"weights") -> CurrentConcept:
    """Return the pointer to a concept that was registered `minutes` after noon."""
    digest = hashlib.sha256(content).hexdigest()
    return CurrentConcept(
        product_id="jam",
        request_id=request_id,
        occurred_at=NOON + timedelta(minutes=minutes),
        offset=offset,
        method="dreambooth",
        class_noun="jar",
        placeholder_token="sks",
        key=f"concepts/jam/{request_id}/{concept_name(digest)}",
        sha256=digest,
        weights="1",
    )
