"""Products learned, segments parked and released, checkpoints kept: on a store in memory."""
# ruff: noqa: ASYNC110, ASYNC240

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from models.briefs import TrainingJob
from models.errors import ConceptTooWeak, UnusablePhotos, WrongArchitecture
from schemas.events import CreativeReady, CreativeRejected, ProductReady, SegmentUpdated
from streams.failures import (
    ConceptUnusable,
    DeviceProcessDied,
    StoreUnavailable,
    TrainingUnsupportedByWeights,
    Verdict,
    judge,
)
from streams.messages import Outcome
from streams.products.learn import train_product
from streams.requests import Tools
from streams.store.concepts import current_concept
from tests import fakes
from tests.fakes import FakeDevice
from tests.streams.world import SOURCE, World, product, segment


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_product_is_learned_and_announced(world: World) -> None:
    outcome = await world.train(product(steps=7))
    ready = ProductReady.model_validate_json(outcome.value)
    assert (outcome.topic, outcome.key) == ("product_ready", b"jam")
    assert (ready.placeholder_token, ready.class_noun, ready.scores) == ("sks", "jar of jam", {"fidelity": 0.9})
    concept = world.store.objects[ready.concept_uri.removeprefix("s3://creatives/")]
    assert hashlib.sha256(concept).hexdigest() == ready.concept_sha256
    [training_job] = world.device.training_jobs
    assert training_job.photos == (b"photo 1", b"photo 2", b"photo 3")
    assert (training_job.method, training_job.steps, training_job.class_noun) == ("dreambooth", 7, "jar of jam")
    prefix = f"concepts/jam/{ready.request_id}/"
    assert world.keys("concepts/jam/") == sorted(
        [f"{prefix}1.png", f"{prefix}concept-{ready.concept_sha256[:16]}.safetensors", f"{prefix}manifest.json",
         "concepts/jam/current.json"]
    )  # fmt: skip
    assert ready.images[0].s3_uri == f"s3://creatives/{prefix}1.png"
    assert world.keys("checkpoints/") == []
    assert not Path(training_job.workdir).exists()


async def test_a_redelivery_teaches_nothing_anew(world: World) -> None:
    first = await world.train(product())
    assert await world.train(product()) == first
    assert len(world.device.training_jobs) == 1


async def test_a_segment_shows_the_product(world: World) -> None:
    await world.train(product())
    outcome = await world.render(segment())
    assert outcome is not None
    ready = CreativeReady.model_validate_json(outcome.value)
    assert ready.prompt.startswith("an advertising photo of sks jar of jam and bread, ")
    assert ready.product_id == "jam"
    [brief] = world.device.briefs
    assert brief.concept is not None
    assert hashlib.sha256(Path(brief.concept.path).read_bytes()).hexdigest() == brief.concept.sha256
    assert (brief.concept.product_id, brief.concept.method) == ("jam", "dreambooth")


async def test_a_textual_inversion_has_its_own_token(world: World) -> None:
    await world.train(product(method="textual_inversion"))
    await world.render(segment())
    assert world.device.briefs[0].prompt.startswith("an advertising photo of <jam> and bread, ")


async def test_a_segment_before_its_product_waits_and_is_released(world: World) -> None:
    assert await world.render(segment("s1")) is None
    assert await world.render(segment("s2")) is None
    assert await world.render(segment("s1")) is None
    assert len(world.keys("parked/jam/")) == 2
    assert world.device.briefs == []
    await world.train(product())
    assert world.keys("parked/") == []
    released = [SegmentUpdated.model_validate_json(outcome.value) for outcome in world.sent.outcomes]
    assert sorted(event.event_id for event in released) == ["s1", "s2"]
    assert {(outcome.topic, outcome.key) for outcome in world.sent.outcomes} == {("segment_updated", b"breakfast")}
    outcome = await world.render(released[0])
    assert outcome is not None
    assert outcome.topic == "creative_ready"


async def test_a_concept_that_comes_between_the_two_looks(world: World) -> None:
    """Parking writes its marker first: what the trainer misses, the second look finds."""

    def learned_meanwhile(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("parked/"):
            world.store.fail = lambda operation, key: None
            asyncio.get_running_loop().create_task(other.train(product())).add_done_callback(done.append)

    done: list[asyncio.Task[Outcome]] = []
    other = world
    await_parked = world.store.put

    async def put(key: str, content: bytes, media_type: str) -> None:
        await await_parked(key, content, media_type)
        while key.startswith("parked/") and not done:
            await asyncio.sleep(0)

    world.store.put = put  # type: ignore[method-assign]
    world.store.fail = learned_meanwhile
    outcome = await world.render(segment())
    assert outcome is not None
    assert outcome.topic == "creative_ready"
    assert world.keys("parked/") == []


async def test_a_release_that_fails_is_made_up_for(world: World) -> None:
    await world.render(segment())
    world.sent.down = True
    with pytest.raises(ConnectionError):
        await world.train(product())
    assert len(world.keys("parked/jam/")) == 1
    world.sent.down = False
    outcome = await world.train(product())
    assert outcome.topic == "product_ready"
    assert len(world.sent.outcomes) == 1
    assert len(world.device.training_jobs) == 1
    assert world.keys("parked/") == []


async def test_a_product_registered_anew_serves_later_events_only(world: World) -> None:
    await world.train(product())
    first = await world.render(segment("s1"))
    await world.train(product(event_id="p2", occurred_at="2026-11-23T11:00:00Z", class_noun="jar of raspberry jam"))
    assert await world.render(segment("s1")) == first
    await world.render(segment("s2"))
    before, after = world.device.briefs
    assert "sks jar of jam and" in before.prompt
    assert "sks jar of raspberry jam and" in after.prompt
    assert before.concept is not None
    assert after.concept is not None
    assert before.concept.sha256 != after.concept.sha256


async def test_a_late_repeat_of_an_old_registration_changes_nothing(world: World) -> None:
    await world.train(product())
    await world.train(product(event_id="p2", occurred_at="2026-11-23T11:00:00Z"))
    await world.train(product())
    current = await current_concept(world.store, "jam")
    assert current is not None
    assert current.occurred_at.hour == 11


@pytest.mark.parametrize(
    ("images", "code", "reason"),
    [
        (
            ["s3://creatives/photos/jam/1.png"] * 2 + ["s3://creatives/photos/jam/9.png"],
            "unusable_photos",
            "2 could be fetched, at least 3 needed (There is no object s3://creatives/photos/jam/9.png)",
        ),
        (["s3://other/photos/1.png"] * 3, "unusable_photos", "below s3://creatives/photos/ only"),
        (["s3://creatives/parked/jam/x.json"] * 3, "unusable_photos", "below s3://creatives/photos/ only"),
        (["s3://creatives/photos/../parked/x"] * 3, "unusable_photos", "below s3://creatives/photos/ only"),
        (["https://evil.example/1.png"] * 3, "unusable_photos", "ALLOWED_HOSTS does not name its host"),
    ],
)
async def test_photos_that_cannot_be_had_are_a_refusal(world: World, images: list[str], code: str, reason: str) -> None:
    outcome = await world.train(product(images=images))
    message = CreativeRejected.model_validate_json(outcome.value)
    assert (outcome.topic, outcome.key, message.product_id) == ("creative_rejected", b"jam", "jam")
    assert message.code == code
    assert reason in message.reason
    assert world.device.training_jobs == []
    assert await world.train(product(images=images)) == outcome
    assert await current_concept(world.store, "jam") is None


async def test_a_photo_too_large(tmp_path: Path) -> None:
    world = World(tmp_path, max_photo_bytes=5)
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert message.code == "unusable_photos"
    assert all(
        f"The object s3://creatives/photos/jam/{number}.png is larger than 5" in message.reason for number in (1, 2, 3)
    )


async def test_the_devices_refusal(world: World) -> None:
    world.device.error = UnusablePhotos(detail="2 of 3 are no pictures")
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert (message.code, message.segment_id) == ("unusable_photos", None)


async def test_a_weak_concept_is_refused_with_its_figures(tmp_path: Path) -> None:
    world = World(tmp_path, min_fidelity=0.95)
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert message.code == ConceptTooWeak.code
    assert message.scores == {"fidelity": 0.9}
    assert "fidelity 0.900, demanded at least 0.950" in message.reason
    assert not any(key.endswith(".safetensors") for key in world.store.objects)


async def test_a_dead_device_leaves_the_checkpoints(world: World) -> None:
    class Dying(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            await super().train(training_job, on_checkpoint)
            raise DeviceProcessDied(request_id="r", how="died", crashes=1, limit=3)

    dying = Dying()
    with pytest.raises(DeviceProcessDied):
        await train_product(product(), SOURCE, Tools(dying, world.store, world.tools.prompter, world.tools.settings))
    [checkpoint] = world.keys("checkpoints/jam/")
    assert checkpoint.endswith("/checkpoint-2.bin")
    assert world.store.objects[checkpoint] == b"jam at 2"


async def test_the_next_owner_goes_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Looking(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            seen.append(sorted(path.name for path in Path(training_job.workdir).iterdir()))
            return await super().train(training_job, on_checkpoint)

    world = World(tmp_path)
    world.device = Looking()
    tools = Tools(world.device, world.store, world.tools.prompter, world.tools.settings, world.sent)
    first = ProductReady.model_validate_json((await world.train(product())).value)
    del world.store.objects[f"concepts/jam/{first.request_id}/manifest.json"]
    for step in (100, 200):
        key = f"checkpoints/jam/{first.request_id}/checkpoint-000{step}.safetensors"
        world.store.objects[key] = f"at {step}".encode()
    await train_product(product(), SOURCE, tools)
    assert seen == [["checkpoint-000200.safetensors"]]
    assert world.keys("checkpoints/") == []


async def test_a_torn_concept_is_not_used(world: World) -> None:
    outcome = await world.train(product())
    ready = ProductReady.model_validate_json(outcome.value)
    world.store.objects[ready.concept_uri.removeprefix("s3://creatives/")] = b"torn"
    with pytest.raises(Exception, match="There is no object s3://creatives/concepts/jam/"):
        await world.render(segment())
    assert world.device.briefs == []


async def test_few_concept_files_are_kept_here(world: World) -> None:
    for number in range(10):
        await world.train(product(event_id=f"p{number}", product_id=f"jam-{number}"))
        await world.render(segment(f"s{number}", product_id=f"jam-{number}"))
    assert len(list((world.folder / "concepts").glob("*.safetensors"))) == 8
    assert len(list((world.folder / "concepts").iterdir())) == 8


async def test_an_outage_while_a_product_is_stored(world: World) -> None:
    def fail(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("concepts/"):
            fakes.unavailable(operation, key)

    world.store.fail = fail
    with pytest.raises(StoreUnavailable):
        await world.train(product())
    world.store.fail = lambda operation, key: None
    outcome = await world.train(product())
    assert json.loads(outcome.value)["product_id"] == "jam"


async def test_every_delivery_of_a_segment_shows_the_same_concept(world: World) -> None:
    """A partition moves while its segment renders, and meanwhile the product is registered anew."""
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
    assert ready.prompt.startswith("an advertising photo of sks jar of jam and bread, ")
    pin = json.loads(world.store.objects[f"creatives/breakfast/{ready.request_id}/concept.json"])
    assert (pin["sha256"], f"s3://creatives/{pin['key']}") == (ready.concept_sha256, ready.concept_uri)
    later = await world.render(segment("s2"))
    assert later is not None
    assert CreativeReady.model_validate_json(later.value).concept_sha256 != ready.concept_sha256


async def test_a_concept_of_other_weights_is_none_until_the_product_is_registered_again(world: World) -> None:
    await world.train(product())
    world.restart(revision="2")
    assert await world.render(segment()) is None
    assert len(world.keys("parked/jam/")) == 1
    assert world.device.briefs == []
    await world.train(product())
    assert len(world.device.training_jobs) == 1
    [released] = world.sent.outcomes
    outcome = await world.render(SegmentUpdated.model_validate_json(released.value))
    assert outcome is not None
    current = await current_concept(world.store, "jam")
    assert current is not None
    assert CreativeReady.model_validate_json(outcome.value).concept_sha256 == current.sha256


async def test_what_the_device_cannot_use_blocks_no_partition(world: World) -> None:
    await world.train(product())
    world.device.error = WrongArchitecture(path="concept", architecture="this UNet", detail="it does not fit")
    with pytest.raises(ConceptUnusable) as unusable:
        await world.render(segment())
    with pytest.raises(TrainingUnsupportedByWeights) as cannot:
        await world.train(product(event_id="p2"))
    for caught in (unusable, cannot):
        assert judge(caught.value, 1, 4) is Verdict.RETRY
        assert judge(caught.value, 4, 4) is Verdict.DEAD_LETTER


async def test_a_refused_product_says_how_many_wait_for_it(world: World) -> None:
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


async def test_other_settings_come_to_another_verdict(world: World) -> None:
    world.set(min_fidelity=0.95)
    refused = await world.train(product())
    world.set(min_fidelity=0.85)
    ready = await world.train(product())
    assert [refused.topic, ready.topic] == ["creative_rejected", "product_ready"]
    world.set(checkpoint_every=7)
    assert await world.train(product()) == ready


async def test_a_figure_that_is_no_number_is_a_refusal(world: World) -> None:
    world.device.scores = {"fidelity": float("nan"), "prompt": 0.25}
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert (message.code, message.scores) == ("concept_too_weak", {"prompt": 0.25})
    assert "fidelity is not a number" in message.reason


async def test_of_registrations_of_one_moment_the_later_in_the_topic_counts(world: World) -> None:
    await world.train(product(event_id="p1"), offset=5)
    second = ProductReady.model_validate_json((await world.train(product(event_id="p2"), offset=6)).value)
    await world.train(product(event_id="p1"), offset=7)  # replayed
    current = await current_concept(world.store, "jam")
    assert current is not None
    assert current.request_id == second.request_id
