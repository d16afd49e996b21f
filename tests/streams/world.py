"""Products and segments on a store in memory, for the tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.messages import Outcome
from streams.products.learn import train_product
from streams.requests import Tools
from streams.segments.prompting import Prompter
from streams.segments.render import render_segment
from streams.settings import Settings
from tests import fakes
from tests.fakes import FakeDevice, MemoryStore

SOURCE = Source(topic="product-registered", partition=0, offset=5)


class Sent:
    """A publisher that remembers. `down`: it raises instead."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.down = False

    async def publish(self, outcome: Outcome) -> None:
        if self.down:
            raise ConnectionError
        self.outcomes.append(outcome)


class World:
    def __init__(self, tmp_path: Path, **training: Any) -> None:
        self.device, self.store, self.sent = FakeDevice(), MemoryStore(), Sent()
        self.folder = tmp_path / "scratch"
        settings = Settings.model_validate({"training": {"workdir": str(self.folder)} | training})
        prompter = Prompter(fakes.save_word_tokenizer(tmp_path), 77, "")
        self.tools = Tools(self.device, self.store, prompter, settings, self.sent)
        for number in range(1, 6):
            self.store.objects[f"photos/jam/{number}.png"] = f"photo {number}".encode()

    async def train(self, event: ProductRegistered, offset: int = 5) -> Outcome:
        return await train_product(event, SOURCE.model_copy(update={"offset": offset}), self.tools)

    async def render(self, event: SegmentUpdated) -> Outcome | None:
        return await render_segment(event, Source(topic="segment-updated", partition=0, offset=1), self.tools)

    def restart(self, revision: str = "1") -> None:
        """Go on as another process would, perhaps with other weights of the diffusion model."""
        self.device = FakeDevice(recipe=fakes.recipe(revision))
        self.tools = Tools(self.device, self.store, self.tools.prompter, self.tools.settings, self.sent)

    def set(self, **training: Any) -> None:
        """Change settings of the training."""
        changed = self.tools.settings.training.model_copy(update=training)
        self.tools = replace(self.tools, settings=self.tools.settings.model_copy(update={"training": changed}))

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith(prefix))


def product(**changes: Any) -> ProductRegistered:
    given = {
        "event_id": "p1",
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": "jam",
        "name": "Malina",
        "class_noun": "jar of jam",
        "images": [f"s3://creatives/photos/jam/{number}.png" for number in (1, 2, 3)],
    }
    return ProductRegistered.model_validate(given | changes)


def segment(event_id: str = "s1", **changes: Any) -> SegmentUpdated:
    given = {
        "event_id": event_id,
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": "breakfast",
        "name": "breakfast lovers",
        "keywords": [{"term": "bread"}],
        "product_id": "jam",
    }
    return SegmentUpdated.model_validate(given | changes)
