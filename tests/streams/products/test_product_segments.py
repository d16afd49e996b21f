"""Segments that show a product: both handlers on one store. Covers parking, release and pinned concepts."""
# ruff: noqa: ASYNC110, ASYNC240

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from models.errors import UnusablePhotos, WrongArchitecture
from schemas.events import CreativeReady, CreativeRejected, ProductReady, SegmentUpdated
from streams.failures import ConceptUnusable, StoreUnavailable, TrainingUnsupportedByWeights, Verdict, judge
from streams.messages import Outcome
from streams.store.concepts import current_concept
from tests import fakes
from tests.streams.world import World, product, segment


async def test_a_segment_shows_the_product(world: World) -> None:
    await world.train(product())
    outcome = await world.render(segment())
    assert outcome is not None
    ready = CreativeReady.model_validate_json(outcome.value)
    assert ready.prompt.startswith("an advertising photo of sks jar of jam, soft light")
    assert ready.product_id == "jam"
    [brief] = world.device.briefs
    assert brief.concept is not None
    assert hashlib.sha256(Path(brief.concept.path).read_bytes()).hexdigest() == brief.concept.sha256
    assert (brief.concept.product_id, brief.concept.method) == ("jam", "dreambooth")


async def test_a_textual_inversion_prompt_uses_its_own_token(world: World) -> None:
    await world.train(product(method="textual_inversion"))
    await world.render(segment())
    assert world.device.briefs[0].prompt.startswith("an advertising photo of <jam>, soft light")


async def test_a_segment_waits_for_its_product_and_is_released(world: World) -> None:
    assert await world.render(segment("s1")) is None
    assert await world.render(segment("s2")) is None
    assert await world.render(segment("s1")) is None
    assert len(world.keys("parked/jam/")) == 2
    assert world.device.briefs == []
    await world.train(product())
    assert world.keys("parked/") == []
    released = [SegmentUpdated.model_validate_json(outcome.value) for outcome in world.publisher.outcomes]
    assert sorted(event.event_id for event in released) == ["s1", "s2"]
    assert {(outcome.topic, outcome.key) for outcome in world.publisher.outcomes} == {("segment_updated", b"breakfast")}
    outcome = await world.render(released[0])
    assert outcome is not None
    assert outcome.topic == "creative_ready"


async def test_a_concept_that_appears_during_parking_is_found(world: World) -> None:
    """The worker parks the segment and then checks again, so it finds a concept that the trainer stored in between."""

    def train_during_parking(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("parked/"):
            world.store.fail = lambda operation, key: None
            asyncio.get_running_loop().create_task(world.train(product())).add_done_callback(done.append)

    done: list[asyncio.Task[Outcome]] = []
    original_put = world.store.put

    async def put(key: str, content: bytes, media_type: str) -> None:
        await original_put(key, content, media_type)
        while key.startswith("parked/") and not done:
            await asyncio.sleep(0)

    world.store.put = put  # type: ignore[method-assign]
    world.store.fail = train_during_parking
    outcome = await world.render(segment())
    assert outcome is not None
    assert outcome.topic == "creative_ready"
    assert world.keys("parked/") == []


async def test_a_redelivery_completes_a_failed_release(world: World) -> None:
    await world.render(segment())
    world.publisher.down = True
    with pytest.raises(ConnectionError):
        await world.train(product())
    assert len(world.keys("parked/jam/")) == 1
    world.publisher.down = False
    outcome = await world.train(product())
    assert outcome.topic == "product_ready"
    assert len(world.publisher.outcomes) == 1
    assert len(world.device.training_jobs) == 1
    assert world.keys("parked/") == []


async def test_a_new_registration_changes_later_events_only(world: World) -> None:
    await world.train(product())
    first = await world.render(segment("s1"))
    await world.train(product(event_id="p2", occurred_at="2026-11-23T11:00:00Z", class_noun="jar of raspberry jam"))
    assert await world.render(segment("s1")) == first
    await world.render(segment("s2"))
    before, after = world.device.briefs
    assert "sks jar of jam, " in before.prompt
    assert "sks jar of raspberry jam, " in after.prompt
    assert before.concept is not None
    assert after.concept is not None
    assert before.concept.sha256 != after.concept.sha256


async def test_a_damaged_concept_is_not_used(world: World) -> None:
    outcome = await world.train(product())
    ready = ProductReady.model_validate_json(outcome.value)
    world.store.objects[ready.concept_uri.removeprefix("s3://creatives/")] = b"torn"
    with pytest.raises(Exception, match="There is no object s3://creatives/concepts/jam/"):
        await world.render(segment())
    assert world.device.briefs == []


async def test_the_concept_files_stay_within_their_limit(world: World) -> None:
    world.set(max_concept_cache_bytes=100)
    for number in range(4):
        await world.train(product(event_id=f"p{number}", product_id=f"jam-{number}"))
        await world.render(segment(f"s{number}", product_id=f"jam-{number}"))
    sizes = [path.stat().st_size for path in (world.folder / "concepts").iterdir()]
    assert len(sizes) == 2
    assert sum(sizes) <= 100


async def test_every_delivery_of_a_segment_shows_the_same_concept(world: World) -> None:
    """A partition moves during a rendering, and the product is registered again before the retry."""
    await world.train(product())

    def fail(operation: str, key: str) -> None:
        if operation == "put_if_absent" and key.endswith("manifest.json"):
            fakes.unavailable(operation, key)

    world.store.fail = fail
    with pytest.raises(StoreUnavailable):
        await world.render(segment("s1"))
    world.store.fail = lambda operation, key: None
    await world.train(product(event_id="p2", occurred_at="2026-11-23T11:00:00Z", class_noun="jar of honey"))
    world.restart()
    outcome = await world.render(segment("s1"))
    assert outcome is not None
    ready = CreativeReady.model_validate_json(outcome.value)
    assert ready.prompt.startswith("an advertising photo of sks jar of jam, soft light")
    pinned = json.loads(world.store.objects[f"creatives/breakfast/{ready.request_id}/concept.json"])
    assert (pinned["sha256"], f"s3://creatives/{pinned['key']}") == (ready.concept_sha256, ready.concept_uri)
    later = await world.render(segment("s2"))
    assert later is not None
    assert CreativeReady.model_validate_json(later.value).concept_sha256 != ready.concept_sha256


async def test_a_concept_of_other_weights_is_not_used_until_the_product_is_trained_again(world: World) -> None:
    await world.train(product())
    world.restart(revision="2")
    assert await world.render(segment()) is None
    assert len(world.keys("parked/jam/")) == 1
    assert world.device.briefs == []
    await world.train(product())
    assert len(world.device.training_jobs) == 1
    [released] = world.publisher.outcomes
    outcome = await world.render(SegmentUpdated.model_validate_json(released.value))
    assert outcome is not None
    current = await current_concept(world.tools.signed, "jam")
    assert current is not None
    assert CreativeReady.model_validate_json(outcome.value).concept_sha256 == current.sha256


async def test_an_unusable_concept_is_dead_lettered_after_retries(world: World) -> None:
    await world.train(product())
    world.device.error = WrongArchitecture(path="concept", architecture="this UNet", detail="it does not fit")
    with pytest.raises(ConceptUnusable) as unusable:
        await world.render(segment())
    with pytest.raises(TrainingUnsupportedByWeights) as unsupported:
        await world.train(product(event_id="p2"))
    for caught in (unusable, unsupported):
        assert judge(caught.value, 1, 4) is Verdict.RETRY
        assert judge(caught.value, 4, 4) is Verdict.DEAD_LETTER


async def test_a_rejection_counts_the_waiting_segments(world: World) -> None:
    await world.render(segment("s1"))
    await world.render(segment("s2"))
    world.device.error = UnusablePhotos(detail="2 of 3 are no pictures")
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert message.waiting == 2
    assert len(world.keys("parked/jam/")) == 2
    world.device.error = None
    await world.train(product(event_id="p2"))
    assert world.keys("parked/jam/") == []
    world.device.error = UnusablePhotos(detail="2 of 3 are no pictures")
    message = CreativeRejected.model_validate_json((await world.train(product(event_id="p3"))).value)
    assert message.waiting is None
