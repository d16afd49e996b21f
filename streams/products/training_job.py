"""One training job: fetch the photos, train in the device process, keep checkpoints in the object store.

The next owner of the partition resumes from the newest checkpoint; no file on the local disk is needed for that.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from models.briefs import TrainingJob, TrainingResult
from models.errors import CreativesError, StageFailed, UnusablePhotos, WeightsError
from models.local_files import delete_partials, disk_errors, partial_file, private_folder
from models.photo_files import PhotoFile
from models.subjects import placeholder
from schemas.events import ProductRegistered, Source
from streams.event_line import timed
from streams.failures import (
    ObjectRefused,
    ObjectTooLarge,
    PhotoUnavailable,
    TrainingUnsupportedByWeights,
    Verdict,
    judge,
)
from streams.messages import Headers
from streams.products.photos import FetchedPhotos, fetch_photos
from streams.requests import Tools, seeds_from
from streams.scratch import scratch_folder, scratch_path
from streams.store.keys import checkpoint_prefix
from streams.store.manifests import read_manifest
from streams.store.protocol import ObjectStore
from streams.store.signed_objects import SignedObjects

log = structlog.get_logger(__name__)

MIN_PHOTOS = 3
SAFETENSORS = "application/octet-stream"
_STALE_SECONDS = 86_400.0
_MAX_CHECKPOINTS = 3  # a job keeps one; there may be two while it replaces it
_CHECKPOINT = re.compile(r"checkpoint-\d{6,9}\.safetensors")  # see models.learning.training


class PhotosUnavailable(UnusablePhotos):
    """The photos cannot be fetched: {detail}"""

    code = "photos_unavailable"


@dataclass(frozen=True)
class TrainingRequest:
    """A registration with its request id. prefix: of its object keys. folder: its scratch folder on this machine."""

    event: ProductRegistered
    source: Source
    headers: Headers
    id: str
    prefix: str
    folder: Path


async def run_training(request: TrainingRequest, tools: Tools) -> TrainingResult:
    """Return the result of training on the product's photos.

    Raises Refused, TrainingUnsupportedByWeights, StageFailed, and the errors of the store and the device process.
    """
    training = tools.settings.training
    with _scratch_folder(request.folder):
        with timed("photos"):
            fetched = await fetch_photos(request.event.images, request.folder / "photos", tools.store, training)
        _check_photo_count(fetched)
        await _fetch_checkpoint(request, tools.store, training.max_checkpoint_bytes)
        private_folder(request.folder)
        class_cache = scratch_folder(training, "class-images")
        await asyncio.to_thread(_delete_stale_folders, request.folder)
        training_job = _training_job(request, tools, fetched.photos, class_cache)

        async def on_checkpoint(_: int, path: Path) -> None:
            await _store_checkpoint(request, tools.signed, path)

        try:
            with timed("device"):
                trained = await tools.device.train(training_job, on_checkpoint)
        except WeightsError as error:
            raise TrainingUnsupportedByWeights(product_id=request.event.product_id, detail=str(error)) from error
        except UnusablePhotos as refusal:
            if not fetched.errors:
                raise
            detail = f"{refusal.fields['detail']}, of the {len(fetched.photos)} fetched; {_join_errors(fetched)}"
            raise UnusablePhotos(detail=detail) from refusal
        await asyncio.to_thread(_check_digest, trained)
        return trained


def _check_digest(trained: TrainingResult) -> None:
    """Raise StageFailed unless the concept file has its sha256, which names an object and is announced.

    The device process reads foreign weights and photos, so it may send anything.
    """
    path = Path(trained.path)
    with disk_errors(path.parent), suppress(FileNotFoundError), path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == trained.sha256:
            return
    raise StageFailed(stage="train", kind="TrainingResult", detail="the concept file does not have the sha256 it names")


def _check_photo_count(fetched: FetchedPhotos) -> None:
    """Raise UnusablePhotos or PhotosUnavailable if fewer than MIN_PHOTOS were fetched and a fetch failed."""
    if not fetched.errors:
        return
    detail = f"{len(fetched.photos)} could be fetched, at least {MIN_PHOTOS} needed ({_join_errors(fetched)})"
    if len(fetched.photos) >= MIN_PHOTOS:
        log.warning("training without some of the photos", reasons=_join_errors(fetched))
    elif any(isinstance(error, PhotoUnavailable) for error in fetched.errors):
        raise PhotosUnavailable(detail=detail)
    else:
        raise UnusablePhotos(detail=detail)


def _join_errors(fetched: FetchedPhotos) -> str:
    return "; ".join(str(error).rstrip(".") for error in fetched.errors)


def _training_job(
    request: TrainingRequest, tools: Tools, photos: tuple[PhotoFile, ...], class_cache: Path
) -> TrainingJob:
    """Return the job. Values of the event override the settings; the device process fills in every None."""
    training, event = tools.settings.training, request.event
    method_settings = training.method_settings(event.method).model_dump()
    if event.steps is not None:
        method_settings["steps"] = event.steps
    return TrainingJob(
        request_id=request.id,
        product_id=event.product_id,
        class_noun=event.class_noun,
        placeholder_token=placeholder(event.product_id, event.method),
        method=event.method,
        photos=photos,
        photo_limits=training.photo_limits(),
        seed=seeds_from(request.id, 1)[0] if event.seed is None else event.seed,
        workdir=str(request.folder),
        checkpoint_every=training.checkpoint_every,
        checkpoint_seconds=training.checkpoint_seconds,
        class_cache=str(class_cache),
        class_cache_bytes=training.max_class_cache_bytes,
        **method_settings,
    )


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[None]:
    """Delete the folder if the job fails for good. Keep it if a retry on this worker may resume the job."""
    try:
        yield
    except CreativesError as error:
        if judge(error, failures=1, limit=1) is Verdict.DEAD_LETTER:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _delete_stale_folders(folder: Path) -> None:
    """Delete the folders of jobs that moved to another worker or were killed, and partial files of killed workers."""
    for path in folder.parent.glob("*"):
        with suppress(FileNotFoundError):
            if path != folder and path.stat().st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
            else:
                delete_partials(path)


async def delete_checkpoints(request: TrainingRequest, store: ObjectStore) -> None:
    """Delete a request's scratch folder and its stored checkpoints."""
    await asyncio.to_thread(shutil.rmtree, request.folder, ignore_errors=True)
    for key in await store.list(checkpoint_prefix(request.event.product_id, request.id)):
        await store.delete(key)


async def _store_checkpoint(request: TrainingRequest, signed: SignedObjects, path: Path) -> None:
    """Upload a checkpoint, then delete the older ones.

    Another worker may have finished the job while this one, frozen or cut off, still trained. It has deleted the
    checkpoints, and nobody would delete this one.
    """
    store = signed.store
    prefix = checkpoint_prefix(request.event.product_id, request.id)
    try:
        await store.upload(prefix + path.name, path, SAFETENSORS)
    except FileNotFoundError:
        return  # the device process has replaced this checkpoint with a newer one
    finished = await read_manifest(signed, request.prefix) is not None
    for key in await store.list(prefix):
        if finished or key < prefix + path.name:
            await store.delete(key)


async def _fetch_checkpoint(request: TrainingRequest, store: ObjectStore, limit: int) -> None:
    """Download the newest checkpoints unless the scratch folder holds one at least as new.

    Other writers of the bucket can put objects there, so only names that the device process writes count, and objects
    of no more than `limit` bytes.
    """
    prefix = checkpoint_prefix(request.event.product_id, request.id)
    names = [key.removeprefix(prefix) for key in await store.list(prefix)]
    ours = sorted(name for name in names if _CHECKPOINT.fullmatch(name))
    if len(ours) < len(names):
        log.warning("ignoring objects that are not checkpoints", prefix=prefix, count=len(names) - len(ours))
    if not ours or any(path.name >= ours[-1] for path in request.folder.glob("checkpoint-*.safetensors")):
        return
    private_folder(request.folder)
    for name in ours[-_MAX_CHECKPOINTS:]:  # the newest may be planted; the device process takes the newest of its own
        try:
            with partial_file(scratch_path(request.folder, name)) as file:
                if await store.download(prefix + name, file.write, limit):
                    await asyncio.to_thread(file.commit)
        except (ObjectTooLarge, ObjectRefused) as error:
            log.warning("ignoring an unusable checkpoint", reason=str(error))
