"""The segment handler on a store in memory and a fake device."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.briefs import Brief, Rendering
from models.errors import NothingPassed, StageFailed
from schemas.events import CreativeReady, CreativeRejected, SegmentUpdated, Source
from streams.failures import DeviceProcessDied, InvalidEvent, StoreUnavailable
from streams.requests import Tools, seeds_from
from streams.segments import prompting
from streams.segments.prompting import Prompter
from streams.segments.render import render_segment
from streams.settings import Settings, StorageSettings
from streams.store.s3 import MinioStore
from tests import fakes
from tests.fakes import FakeDevice, MemoryStore

SOURCE = Source(topic="segment-updated", partition=1, offset=42)


def segment(**changes: Any) -> SegmentUpdated:
    fields = {
        "event_id": "e1",
        "occurred_at": "2026-11-23T10:00:00Z",
        "segment_id": "coffee",
        "name": "coffee enthusiast",
        "keywords": [{"term": "espresso", "weight": 3}, {"term": "croissant", "weight": 2}],
    }
    return SegmentUpdated.model_validate(fields | changes)


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    tokenizer = fakes.save_word_tokenizer(tmp_path)
    settings = Settings.model_validate({"studio": {"candidates": 4, "images": 2}})
    return Tools(FakeDevice(), MemoryStore(), Prompter(tokenizer, 77, "blurry"), settings)


async def rendered(tools: Tools, event: SegmentUpdated, source: Source = SOURCE, **more: Any) -> Any:
    outcome = await render_segment(event, source, tools, **more)
    assert outcome is not None
    return outcome


async def test_pictures_are_stored_and_announced(tools: Tools) -> None:
    outcome = await rendered(tools, segment())
    assert (outcome.topic, outcome.key) == ("creative_ready", b"coffee")
    message = CreativeReady.model_validate_json(outcome.value)
    assert message.prompt == ("an advertising photo of espresso and a croissant, soft light")
    assert message.negative_prompt == "blurry"
    assert message.source == SOURCE
    assert message.recipe == tools.recipe
    assert message.recipe.models[0].id == fakes.RECIPE.models[0].id
    assert (message.cost.candidates, message.cost.device) == (4, "cpu")
    assert [image.rank for image in message.images] == [1, 2]
    store = tools.store
    assert isinstance(store, MemoryStore)
    for image in message.images:
        key = image.s3_uri.removeprefix("s3://creatives/")
        assert key == f"creatives/coffee/{message.request_id}/square-{image.rank}-{image.sha256[:16]}.png"
        assert image.url == f"https://memory.example/creatives/{key}"
        assert hashlib.sha256(store.objects[key]).hexdigest() == image.sha256
        assert len(store.objects[key]) == image.bytes
        assert store.media_types[key] == "image/png"


async def test_the_manifest_is_written_last_and_holds_every_candidate(tools: Tools) -> None:
    outcome = await rendered(tools, segment())
    store = tools.store
    assert isinstance(store, MemoryStore)
    writes = [(operation, key.rsplit("/", 1)[1]) for operation, key in store.calls if operation != "get"]
    names = [image.s3_uri.rsplit("/", 1)[1] for image in CreativeReady.model_validate_json(outcome.value).images]
    assert writes == [("put", names[0]), ("put", names[1]), ("put_if_absent", "manifest.json")]
    manifest = json.loads(store.objects[store.calls[-1][1]])
    assert manifest["message"].encode() == outcome.value
    assert [one["index"] for one in manifest["candidates"]] == [3, 2, 1, 0]
    assert [one.get("rank") for one in manifest["candidates"]] == [1, 2, None, None]


async def test_the_outcome_has_cloud_events_headers(tools: Tools) -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    outcome = await rendered(tools, segment(), headers=(("traceparent", trace),))
    headers = dict(outcome.headers)
    message = CreativeReady.model_validate_json(outcome.value)
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"].decode() == message.request_id
    assert headers["ce_type"] == b"fluence.creative-ready.v1"
    assert headers["ce_subject"] == b"coffee"
    assert headers["content-type"] == b"application/json"
    assert headers["ce_time"].decode() == json.loads(outcome.value)["created_at"]
    assert headers["traceparent"].startswith(b"00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert headers["traceparent"].endswith(b"-00")


async def test_a_redelivery_answers_from_the_manifest(tools: Tools) -> None:
    first = await rendered(tools, segment())
    again = await rendered(tools, segment(), Source(topic="segment-updated", partition=0, offset=7))
    assert again == first
    assert isinstance(tools.device, FakeDevice)
    assert len(tools.device.briefs) == 1


async def test_the_faster_of_two_workers_wins(tools: Tools) -> None:
    first = await rendered(tools, segment())
    store = tools.store
    assert isinstance(store, MemoryStore)
    other = MemoryStore()
    slow = Tools(tools.device, other, tools.prompter, tools.settings)

    def manifest_appears(operation: str, key: str) -> None:
        if operation == "put_if_absent":
            other.objects[key] = store.objects[key]

    other.fail = manifest_appears
    assert await rendered(slow, segment(), Source(topic="segment-updated", partition=1, offset=43)) == first


async def test_a_slower_worker_does_not_overwrite_pictures(tools: Tools) -> None:
    """Pictures of another machine may differ in the last bits. Stored pictures must match the announced sha256."""
    first = await rendered(tools, segment())
    faster = tools.store
    assert isinstance(faster, MemoryStore)
    store = MemoryStore()

    class Slow(FakeDevice):
        async def render(self, brief: Brief) -> Rendering:
            made = await super().render(brief)
            store.objects.update(faster.objects)
            others = tuple(replace(picture, content=picture.content + b"a last bit") for picture in made.pictures)
            return replace(made, pictures=others)

    assert await rendered(Tools(Slow(), store, tools.prompter, tools.settings), segment()) == first
    assert store.objects == faster.objects


@pytest.mark.parametrize(
    ("studio", "negative"),
    [({"images": 1}, "blurry"), ({"candidates": 5}, "blurry"), ({}, "blurry, text")],
)
async def test_other_worker_settings_make_another_request(
    tools: Tools, tmp_path: Path, studio: dict[str, int], negative: str
) -> None:
    settings = Settings.model_validate({"studio": {"candidates": 4, "images": 2} | studio})
    prompter = Prompter(fakes.save_word_tokenizer(tmp_path), 77, negative)
    other = Tools(tools.device, tools.store, prompter, settings)
    assert tools.recipe == Tools(tools.device, tools.store, tools.prompter, tools.settings).recipe
    assert other.recipe.fingerprint != tools.recipe.fingerprint
    assert (await rendered(other, segment())).value != (await rendered(tools, segment())).value


async def test_another_template_makes_another_request(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tools.recipe.fingerprint
    monkeypatch.setattr(prompting, "TEMPLATE_VERSION", prompting.TEMPLATE_VERSION + 1)
    prompter = Prompter(fakes.save_word_tokenizer(tmp_path), 77, "blurry")
    assert Tools(tools.device, tools.store, prompter, tools.settings).recipe.fingerprint != before


async def test_a_rejection_has_a_manifest_too(tools: Tools) -> None:
    device = tools.device
    assert isinstance(device, FakeDevice)
    device.error = NothingPassed(detail="all blank")
    first = await rendered(tools, segment())
    message = CreativeRejected.model_validate_json(first.value)
    assert (first.topic, message.code, message.segment_id) == ("creative_rejected", "nothing_passed", "coffee")
    assert message.reason == "No candidate passed the selection: all blank"
    device.error = None
    assert await rendered(tools, segment()) == first


async def test_the_largest_outcome_fits_into_kafkas_default_limit(tools: Tools) -> None:
    """Kafka's default limit is 1 MiB, so the broker never refuses a committed outcome for its size (MessageRefused)."""
    words = "\U0001f600a" * 100
    largest = segment(
        event_id="e" * 128,
        segment_id="s" * 128,
        name=words,
        name_en=words,
        description=words * 20,
        keywords=[{"term": words, "weight": 1, "en": words}] * 200,
        interests=[words] * 100,
        brand={"name": words, "features": [words] * 50},
        formats=["square", "portrait", "landscape", "story"],
        candidates=64,
        images=16,
    )
    storage = StorageSettings(endpoint="http://store:9000", access_key="a" * 128, bucket="b" * 63)
    store = MinioStore(storage)
    memory = tools.store
    assert isinstance(memory, MemoryStore)
    memory.link = store.link  # type: ignore[method-assign]  # presigned URLs of the real length
    outcome = await rendered(tools, largest)
    store.close()
    assert len(CreativeReady.model_validate_json(outcome.value).images) == 64
    assert len(outcome.value) + sum(len(name) + len(value) for name, value in outcome.headers) < 512 * 1024


@pytest.mark.parametrize(
    "error",
    [
        DeviceProcessDied(request_id="r", how="died", crashes=1, limit=3),
        StageFailed(stage="upscale", kind="RuntimeError", detail="x"),
    ],
)
async def test_a_failed_rendering_stores_nothing(tools: Tools, error: Exception) -> None:
    assert isinstance(tools.device, FakeDevice)
    assert isinstance(tools.store, MemoryStore)
    tools.device.error = error
    with pytest.raises(type(error)):
        await render_segment(segment(), SOURCE, tools)
    assert tools.store.objects == {}


@pytest.mark.parametrize("operation", ["get", "put", "put_if_absent"])
async def test_an_outage_is_raised_and_a_retry_succeeds(tools: Tools, operation: str) -> None:
    store = tools.store
    assert isinstance(store, MemoryStore)

    def fail(called: str, key: str) -> None:
        if called == operation:
            fakes.unavailable(called, key)

    store.fail = fail
    with pytest.raises(StoreUnavailable):
        await render_segment(segment(), SOURCE, tools)
    assert not any(key.endswith("manifest.json") for key in store.objects)
    store.fail = lambda operation, key: None
    await rendered(tools, segment())


async def test_the_brief_follows_the_event(tools: Tools) -> None:
    assert isinstance(tools.device, FakeDevice)
    await rendered(tools, segment(candidates=5, images=3, formats=["square", "story"], seed=7))
    await rendered(tools, segment(event_id="e2", candidates=1))
    first, second = tools.device.briefs
    assert (first.seeds, first.keep, first.formats) == (seeds_from("7", 5), 3, ("square", "story"))
    assert (len(second.seeds), second.keep) == (1, 1)
    assert second.seeds == seeds_from(second.request_id, 1)


async def test_ranks_restart_for_each_format(tools: Tools) -> None:
    message = CreativeReady.model_validate_json((await rendered(tools, segment(formats=["story", "square"]))).value)
    assert message.formats == ("story", "square")
    ranks = [(image.format, image.rank) for image in message.images]
    assert ranks == [("story", 1), ("story", 2), ("square", 1), ("square", 2)]
    assert len({image.s3_uri for image in message.images}) == 4


async def test_a_corrected_event_under_its_old_id_gets_new_pictures(tools: Tools) -> None:
    first = CreativeReady.model_validate_json((await rendered(tools, segment())).value)
    corrected = await rendered(tools, segment(name="pizza lovers", keywords=["pizza"]))
    second = CreativeReady.model_validate_json(corrected.value)
    assert (first.event_id, second.event_id) == ("e1", "e1")
    assert "pizza" in second.prompt
    assert {image.sha256 for image in first.images}.isdisjoint(image.sha256 for image in second.images)
    assert await rendered(tools, segment()) != corrected, "the old content still has its old pictures"
    assert await rendered(tools, segment(name="pizza lovers", keywords=["pizza"])) == corrected
    assert isinstance(tools.device, FakeDevice)
    assert len(tools.device.briefs) == 2


async def test_an_event_without_words_is_invalid(tools: Tools) -> None:
    event = segment(keywords=[]).model_copy(update={"name": "☕☕"})
    with pytest.raises(InvalidEvent, match="name: "):
        await render_segment(event, SOURCE, tools)
