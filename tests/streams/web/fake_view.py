"""An idle worker's state, a view that shows it, and an example outcome."""

from __future__ import annotations

from pathlib import Path

from schemas.events import CreativeReady, SegmentUpdated, Source
from streams.device.status import DeviceStatus
from streams.messages import Outcome
from streams.requests import Tools
from streams.segments.prompting import Prompter
from streams.segments.render import render_segment
from streams.settings import Settings
from streams.web.state import WorkerState
from tests import fakes

IDLE = DeviceStatus("idle", 1, 0, 0, (), 0.0, 3)
STATE = WorkerState("all", "0.1", 0.01, 60.0, IDLE, joined=True, device="cpu", assigned=("segment-updated[0]",))
SOURCE = Source(topic="segment-updated", partition=0, offset=0)


class FakeView:
    def __init__(self) -> None:
        self.current = STATE
        self.creatives: list[CreativeReady] = []
        self.store_error: Exception | None = None
        self.pictures: dict[str, bytes] = {}

    def state(self) -> WorkerState:
        return self.current

    def latest(self) -> list[CreativeReady]:
        return self.creatives

    async def check_store(self) -> None:
        if self.store_error is not None:
            raise self.store_error

    async def fetch_picture(self, uri: str) -> bytes | None:
        await self.check_store()
        return self.pictures.get(uri)


async def rendered_outcome(tmp_path: Path, name: str = "coffee enthusiast", segment_id: str = "coffee") -> Outcome:
    prompter = Prompter(fakes.save_word_tokenizer(tmp_path), 77, "blurry")
    tools = Tools(fakes.FakeDevice(), fakes.MemoryStore(), prompter, Settings())
    event = SegmentUpdated.model_validate(
        {"event_id": segment_id, "occurred_at": "2026-11-23T10:00:00Z", "segment_id": segment_id, "name": name}
    )
    outcome = await render_segment(event, SOURCE, tools)
    assert outcome is not None
    return outcome
