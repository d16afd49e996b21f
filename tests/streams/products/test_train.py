"""The product handler on a store in memory and a fake device."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from models.briefs import TrainingJob
from models.errors import ConceptTooWeak, UnusablePhotos
from schemas.events import CreativeRejected, ProductReady
from streams.failures import DeviceProcessDied, StoreUnavailable
from streams.products.train import train_product
from streams.requests import Tools
from streams.store.concepts import current_concept
from tests import fakes
from tests.fakes import FakeDevice
from tests.streams.world import SOURCE, World, product


async def test_a_concept_is_trained_stored_and_announced(world: World) -> None:
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
        [ready.images[0].s3_uri.removeprefix("s3://creatives/"), f"{prefix}concept-{ready.concept_sha256[:16]}.safetensors", f"{prefix}manifest.json",
         "concepts/jam/current.json"]
    )  # fmt: skip
    assert ready.images[0].s3_uri == f"s3://creatives/{prefix}square-1-{ready.images[0].sha256[:16]}.png"
    assert world.keys("checkpoints/") == []
    assert not Path(training_job.workdir).exists()


async def test_a_redelivery_does_not_train_again(world: World) -> None:
    first = await world.train(product())
    assert await world.train(product()) == first
    assert len(world.device.training_jobs) == 1


async def test_a_redelivered_old_registration_does_not_become_current(world: World) -> None:
    await world.train(product())
    await world.train(product(event_id="p2", occurred_at="2026-11-23T11:00:00Z"))
    await world.train(product())
    current = await current_concept(world.tools.signed, "jam")
    assert current is not None
    assert current.occurred_at.hour == 11


@pytest.mark.parametrize(
    ("images", "code", "reason"),
    [
        (
            ["s3://creatives/photos/jam/1.png", "s3://creatives/photos/jam/2.png", "s3://creatives/photos/jam/9.png"],
            "unusable_photos",
            "2 could be fetched, at least 3 needed (There is no object s3://creatives/photos/jam/9.png)",
        ),
        (["s3://other/photos/1.png"] * 3, "unusable_photos", "below s3://creatives/photos/ only"),
        (["s3://creatives/parked/jam/x.json"] * 3, "unusable_photos", "below s3://creatives/photos/ only"),
        (["s3://creatives/photos/../parked/x"] * 3, "unusable_photos", "below s3://creatives/photos/ only"),
        (["https://evil.example/1.png"] * 3, "unusable_photos", "ALLOWED_HOSTS does not name its host"),
    ],
)
async def test_unreadable_photos_reject_the_product(world: World, images: list[str], code: str, reason: str) -> None:
    outcome = await world.train(product(images=images))
    message = CreativeRejected.model_validate_json(outcome.value)
    assert (outcome.topic, outcome.key, message.product_id) == ("creative_rejected", b"jam", "jam")
    assert message.code == code
    assert reason in message.reason
    assert world.device.training_jobs == []
    assert await world.train(product(images=images)) == outcome
    assert await current_concept(world.tools.signed, "jam") is None


async def test_photos_that_are_too_large_reject_the_product(tmp_path: Path) -> None:
    world = World(tmp_path, max_photo_bytes=5)
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert message.code == "unusable_photos"
    assert all(
        f"The object s3://creatives/photos/jam/{number}.png is larger than 5" in message.reason for number in (1, 2, 3)
    )


async def test_a_refusal_of_the_device_rejects_the_product(world: World) -> None:
    world.device.error = UnusablePhotos(detail="2 of 3 are no pictures")
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert (message.code, message.segment_id) == ("unusable_photos", None)


async def test_a_missed_threshold_rejects_the_product_with_its_scores(tmp_path: Path) -> None:
    world = World(tmp_path, min_fidelity=0.95)
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert message.code == ConceptTooWeak.code
    assert message.scores == {"fidelity": 0.9}
    assert "fidelity 0.900, demanded at least 0.950" in message.reason
    assert not any(key.endswith(".safetensors") for key in world.store.objects)


async def test_checkpoints_survive_a_dead_device_process(world: World) -> None:
    class DyingDevice(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            await super().train(training_job, on_checkpoint)
            raise DeviceProcessDied(request_id="r", how="died", crashes=1, limit=3)

    dying = DyingDevice()
    with pytest.raises(DeviceProcessDied):
        await train_product(product(), SOURCE, Tools(dying, world.store, world.tools.prompter, world.tools.settings))
    [checkpoint] = world.keys("checkpoints/jam/")
    assert checkpoint.endswith("/checkpoint-2.bin")
    assert world.store.objects[checkpoint] == b"jam at 2"


async def test_another_worker_resumes_from_the_newest_checkpoints(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class RecordingDevice(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            seen.append(sorted(path.name for path in Path(training_job.workdir).iterdir()))
            return await super().train(training_job, on_checkpoint)

    world = World(tmp_path)
    world.device = RecordingDevice()
    tools = Tools(world.device, world.store, world.tools.prompter, world.tools.settings, world.publisher)
    first = ProductReady.model_validate_json((await world.train(product())).value)
    del world.store.objects[f"concepts/jam/{first.request_id}/manifest.json"]
    for step in (100, 200):
        key = f"checkpoints/jam/{first.request_id}/checkpoint-000{step}.safetensors"
        world.store.objects[key] = f"at {step}".encode()
    await train_product(product(), SOURCE, tools)
    assert seen == [["checkpoint-000100.safetensors", "checkpoint-000200.safetensors"]]
    assert world.keys("checkpoints/") == []


async def test_a_retry_after_an_outage_stores_the_concept(world: World) -> None:
    def fail(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("concepts/"):
            fakes.unavailable(operation, key)

    world.store.fail = fail
    with pytest.raises(StoreUnavailable):
        await world.train(product())
    world.store.fail = lambda operation, key: None
    outcome = await world.train(product())
    assert json.loads(outcome.value)["product_id"] == "jam"


async def test_settings_that_decide_the_outcome_make_another_request(world: World) -> None:
    world.set(min_fidelity=0.95)
    refused = await world.train(product())
    world.set(min_fidelity=0.85)
    ready = await world.train(product())
    assert [refused.topic, ready.topic] == ["creative_rejected", "product_ready"]
    world.set(checkpoint_every=7)
    assert await world.train(product()) == ready


async def test_a_score_that_is_not_a_number_rejects_the_product(world: World) -> None:
    world.device.scores = {"fidelity": float("nan"), "prompt": 0.25}
    message = CreativeRejected.model_validate_json((await world.train(product())).value)
    assert (message.code, message.scores) == ("concept_too_weak", {"prompt": 0.25})
    assert "fidelity is not a number" in message.reason


async def test_the_offset_decides_between_registrations_of_the_same_time(world: World) -> None:
    await world.train(product(event_id="p1"), offset=5)
    second = ProductReady.model_validate_json((await world.train(product(event_id="p2"), offset=6)).value)
    await world.train(product(event_id="p1"), offset=7)  # replayed
    current = await current_concept(world.tools.signed, "jam")
    assert current is not None
    assert current.request_id == second.request_id
