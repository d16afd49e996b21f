"""A training job: its photos, its settings, and its scratch files."""
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.briefs import StudioPlan, TrainingJob, TrainingResult
from models.errors import Cancelled, StageFailed, UnusablePhotos
from schemas.events import CreativeRejected, ProductReady
from streams.device.client import DeviceClient
from streams.failures import DeviceProcessDied, PhotoUnavailable, Verdict, judge
from streams.products import photos
from streams.products.train import train_product
from streams.requests import Tools
from streams.settings import DeviceSettings
from streams.store.transfers import end_with_thread
from tests import tiny
from tests.fakes import FakeDevice, MemoryStore
from tests.streams.world import SOURCE, World, photo_digests, product

PHOTOS = Path(__file__).parents[3] / "docs" / "examples" / "products" / "jam"
MISSING = "s3://creatives/photos/jam/missing.png"
FORBIDDEN = "s3://elsewhere/photos/x.png"


def images(*numbers: int) -> list[str]:
    return [f"s3://creatives/photos/jam/{number}.png" for number in numbers]


async def test_method_settings_reach_the_training_job(tmp_path: Path) -> None:
    groups = {"dreambooth": {"steps": 50, "learning_rate": 1e-5, "prior_loss_weight": 0.0, "early_stopping": True}}
    world = World(tmp_path, checkpoint_seconds=5, textual_inversion={"vectors": 3, "snr_gamma": 0}, **groups)
    await world.train(product())
    await world.train(product(event_id="p2", steps=7))
    await world.train(product(event_id="p3", method="textual_inversion"))
    first, second, third = world.device.training_jobs
    assert (first.steps, first.learning_rate, first.prior_loss_weight, first.early_stopping) == (50, 1e-5, 0.0, True)
    assert (first.checkpoint_seconds, first.class_images, first.vectors) == (5, None, None)
    assert second.steps == 7
    assert (third.steps, third.vectors, third.snr_gamma, third.prior_loss_weight) == (None, 3, 0, None)


async def test_training_runs_without_some_photos_if_enough_are_left(world: World) -> None:
    outcome = await world.train(product(images=[MISSING, *images(1, 2, 3), FORBIDDEN]))
    assert outcome.topic == "product_ready"
    assert [photo.sha256 for photo in world.device.training_jobs[0].photos] == photo_digests(1, 2, 3)


async def test_too_few_photos_are_rejected_with_every_reason(world: World) -> None:
    outcome = await world.train(product(images=[MISSING, *images(1, 2), FORBIDDEN]))
    message = CreativeRejected.model_validate_json(outcome.value)
    assert message.code == "unusable_photos"
    assert "2 could be fetched, at least 3 needed" in message.reason
    assert f"There is no object {MISSING}" in message.reason
    assert f"{FORBIDDEN} must not be read" in message.reason


async def test_a_refusal_of_the_device_lists_the_failed_downloads_too(world: World) -> None:
    world.device.error = UnusablePhotos(detail="2 usable, at least 3 needed (photo 2: blank)")
    outcome = await world.train(product(images=[*images(1, 2, 3), MISSING]))
    reason = CreativeRejected.model_validate_json(outcome.value).reason
    assert "photo 2: blank), of the 3 fetched; There is no object" in reason


async def test_an_unreachable_host_has_its_own_rejection_code(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(uri: str, path: Path, settings: Any) -> None:
        raise PhotoUnavailable(uri=uri, detail="HTTP status 503")

    monkeypatch.setattr(photos, "download_from_host", unreachable)
    monkeypatch.setattr(photos, "_PAUSE", 0.01)
    world.set(photo_timeout=0.05)
    some = [*images(1, 2), "https://photos.example/3.png"]
    message = CreativeRejected.model_validate_json((await world.train(product(images=some))).value)
    assert message.code == "photos_unavailable"
    assert "https://photos.example/3.png cannot be fetched: HTTP status 503" in message.reason
    assert (await world.train(product(event_id="p2", images=[*some, *images(3)]))).topic == "product_ready"


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (UnusablePhotos(detail="blank"), False),
        (StageFailed(stage="train", kind="divergence", detail="the loss is nan"), False),
        (DeviceProcessDied(request_id="r", how="died", crashes=3, limit=3), False),
        (DeviceProcessDied(request_id="r", how="died", crashes=1, limit=3), True),
        (Cancelled(), True),
    ],
)
async def test_the_scratch_folder_stays_only_if_the_job_may_resume(
    tmp_path: Path, error: Exception, stays: bool
) -> None:
    class FailingDevice(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            await super().train(training_job, on_checkpoint)
            raise error

    world = World(tmp_path)
    failing = FailingDevice()
    tools = Tools(failing, world.store, world.tools.prompter, world.tools.settings)
    refused = isinstance(error, UnusablePhotos)
    if refused:
        assert (await train_product(product(), SOURCE, tools)).topic == "creative_rejected"
    else:
        with pytest.raises(type(error)):
            await train_product(product(), SOURCE, tools)
    assert Path(failing.training_jobs[0].workdir).exists() == stays
    assert len(world.keys("checkpoints/")) == (0 if refused else 1)


@pytest.mark.parametrize("digest", ["", "0" * 64, "/../../../photos", "\n[error] forged", "\ud800"])
async def test_the_device_cannot_choose_the_sha256_of_its_concept(digest: str, world: World) -> None:
    """It becomes part of an object key, which a store may refuse as in an outage."""

    class LyingDevice(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> TrainingResult:
            return replace(await super().train(training_job, on_checkpoint), sha256=digest)

    device = LyingDevice()
    with pytest.raises(StageFailed, match="the concept file does not have the sha256 it names") as raised:
        await train_product(product(), SOURCE, replace(world.tools, device=device))
    assert judge(raised.value, failures=3, limit=3) is Verdict.DEAD_LETTER
    assert world.keys("concepts/") == []
    assert not Path(device.training_jobs[0].workdir).exists()


async def test_a_redelivery_deletes_left_over_checkpoints(world: World) -> None:
    ready = ProductReady.model_validate_json((await world.train(product())).value)
    world.store.objects[f"checkpoints/jam/{ready.request_id}/checkpoint-000001.safetensors"] = b"left"
    await world.train(product())
    assert world.keys("checkpoints/") == []


async def test_stale_scratch_files_are_deleted(world: World) -> None:
    for name, age in (("stale", 90_000), ("recent", 60)):
        folder = world.folder / "training" / name
        folder.mkdir(parents=True)
        (folder / "checkpoint-1.bin").touch()
        (folder / "checkpoint-2.1.part").touch()  # of a killed worker
        os.utime(folder, (time.time() - age,) * 2)
    await world.train(product())
    [recent] = (world.folder / "training").iterdir()
    assert [path.name for path in recent.iterdir()] == ["checkpoint-1.bin"]


async def test_the_scratch_folders_are_private(tmp_path: Path) -> None:
    class LookingDevice(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            folders = [
                Path(training_job.workdir),
                Path(training_job.workdir).parent,
                Path(str(training_job.class_cache)),
            ]
            self.modes = {stat.S_IMODE(folder.stat().st_mode) for folder in folders}
            return await super().train(training_job, on_checkpoint)

    world, device = World(tmp_path), LookingDevice()
    world.folder.mkdir(mode=0o755)  # an operator created it
    await train_product(product(), SOURCE, replace(world.tools, device=device))
    assert device.modes == {0o700}


class SlowStore(MemoryStore):
    """Uploads of checkpoints end when the test opens `gate`, even after a cancellation, as those of threads do."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects |= objects
        self.started, self.gate = asyncio.Event(), asyncio.Event()
        self._store_now = super().upload

    def upload(self, key: str, path: Path, media_type: str) -> Any:
        if not key.startswith("checkpoints/"):
            return self._store_now(key, path, media_type)
        return end_with_thread(asyncio.ensure_future(self._store_later(key, path, media_type)), threading.Event())

    async def _store_later(self, key: str, path: Path, media_type: str) -> None:
        self.started.set()
        await self.gate.wait()
        await self._store_now(key, path, media_type)


class ImpatientDevice(FakeDevice):
    """Finishes while a checkpoint is being uploaded, and cancels that upload as DeviceClient does."""

    async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
        uploads: list[asyncio.Task[None]] = []

        async def upload(step: int, path: Path) -> None:
            uploads.append(asyncio.create_task(on_checkpoint(step, path)))

        result = await super().train(training_job, upload)
        await asyncio.sleep(0)
        for task in uploads:
            task.cancel()
        await asyncio.wait(uploads)
        return result


async def test_no_checkpoint_stays_of_an_upload_that_was_cancelled_by_the_end_of_the_job(world: World) -> None:
    store = SlowStore(world.store.objects)
    tools = replace(world.tools, store=store, device=ImpatientDevice())
    training = asyncio.create_task(train_product(product(), SOURCE, tools))
    await asyncio.wait_for(store.started.wait(), 5)
    await asyncio.wait({training}, timeout=0.02)
    store.gate.set()
    assert (await training).topic == "product_ready"
    await asyncio.sleep(0)
    assert [key for key in store.objects if key.startswith("checkpoints/")] == []


async def test_a_frozen_worker_leaves_no_checkpoint_of_a_job_that_another_one_finished(world: World) -> None:
    class FrozenDevice(FakeDevice):
        async def train(self, training_job: TrainingJob, on_checkpoint: Any) -> Any:
            await world.train(product())
            return await super().train(training_job, on_checkpoint)

    frozen = replace(world.tools, device=FrozenDevice())
    await train_product(product(), SOURCE, frozen)
    assert world.keys("checkpoints/") == []
    deletions = [key for operation, key in world.store.calls if operation == "delete"]
    assert any(key.endswith("checkpoint-2.bin") for key in deletions)


async def test_good_and_bad_photos_in_a_real_device_process(world: World, tmp_path: Path) -> None:
    """Three good photos are enough. With two, the rejection lists the reason for each bad photo."""
    plan: StudioPlan = tiny.family(tmp_path / "family", size=64)
    for number, path in enumerate(sorted(PHOTOS.glob("*.png"))[:3], 1):
        world.store.objects[f"photos/jam/{number}.png"] = path.read_bytes()
    world.store.objects["photos/jam/4.png"] = b"<html>not found</html>"
    world.store.objects["photos/jam/5.png"] = world.store.objects["photos/jam/1.png"]
    device = DeviceClient(plan, DeviceSettings(start_deadline=120, deadline=120))
    try:
        await device.start()
        tools = Tools(device, world.store, world.tools.prompter, world.tools.settings, world.publisher)
        enough = product(method="textual_inversion", steps=2, images=images(4, 1, 5, 2, 3))
        ready = ProductReady.model_validate_json((await train_product(enough, SOURCE, tools)).value)
        too_few = product(event_id="p2", steps=2, images=[*images(4, 1, 5, 2), MISSING])
        outcome = await train_product(too_few, SOURCE, tools)
    finally:
        await device.stop()
    assert ready.steps == 2
    message = CreativeRejected.model_validate_json(outcome.value)
    assert message.code == "unusable_photos"
    assert "2 usable, at least 3 needed" in message.reason
    assert "photo 1: not an image but a text page" in message.reason
    assert "photo 3: a copy of photo 2" in message.reason
    assert f"There is no object {MISSING}" in message.reason
