"""One lesson on this machine: photos fetched, learned in the device process, checkpoints kept in the object store.

Whoever owns the partition next goes on from the newest checkpoint. What lies on the local disk is scratch.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from models.briefs import TrainingJob, TrainingResult, placeholder
from models.errors import CreativesError, UnusablePhotos, WeightsError
from schemas.events import ProductRegistered, Source
from streams.failures import PhotosUnavailable, TrainingUnsupportedByWeights, Verdict, judge
from streams.messages import Headers
from streams.products.photos import Fetched, fetch_photos
from streams.requests import Tools, seeds_from
from streams.scratch import newest_first, workdir
from streams.store.keys import checkpoint_prefix
from streams.store.protocol import ObjectStore

log = structlog.get_logger(__name__)

LEAST_PHOTOS = 3
SAFETENSORS = "application/octet-stream"
_KEPT_CLASSES = 8
_STALE_SECONDS = 86_400.0


class PhotosUnreachable(UnusablePhotos):
    """The photos cannot be fetched: {detail}"""

    code = "photos_unavailable"


@dataclass(frozen=True)
class Request:
    """A product on its way. prefix: of its objects' keys; folder: this machine's scratch folder for it."""

    event: ProductRegistered
    source: Source
    headers: Headers
    id: str
    prefix: str
    folder: Path


async def run_training(request: Request, tools: Tools) -> TrainingResult:
    """Return what was learned of the product.

    Raises Refused, CannotLearn (weights that no product can be learned with), and what store and lane raise.
    """
    training = tools.settings.training
    with _scratch(request.folder):
        fetched = await fetch_photos(request.event.images, tools.store, training)
        _judge(fetched)
        await _resume(request, tools.store)
        class_cache = workdir(training) / "class-images"
        await asyncio.to_thread(_tidy, request.folder, class_cache)
        training_job = _lesson(request, tools, fetched.photos, class_cache)

        async def keep(_: int, path: Path) -> None:
            await _keep_checkpoint(request, tools.store, path)

        try:
            return await tools.device.train(training_job, keep)
        except WeightsError as error:
            raise TrainingUnsupportedByWeights(product_id=request.event.product_id, detail=str(error)) from error
        except UnusablePhotos as refusal:
            if not fetched.refused:
                raise
            detail = f"{refusal.fields['detail']}, of the {len(fetched.photos)} fetched; {_reasons(fetched)}"
            raise UnusablePhotos(detail=detail) from refusal


def _judge(fetched: Fetched) -> None:
    """Let a product pass of which enough photos could be had. Raises UnusablePhotos, PhotosAway."""
    if not fetched.refused:
        return
    detail = f"{len(fetched.photos)} could be fetched, at least {LEAST_PHOTOS} needed ({_reasons(fetched)})"
    if len(fetched.photos) >= LEAST_PHOTOS:
        log.warning("learned without some of the photos", reasons=_reasons(fetched))
    elif any(isinstance(refusal, PhotosUnavailable) for refusal in fetched.refused):
        raise PhotosUnreachable(detail=detail)
    else:
        raise UnusablePhotos(detail=detail)


def _reasons(fetched: Fetched) -> str:
    return "; ".join(str(refusal).rstrip(".") for refusal in fetched.refused)


def _lesson(request: Request, tools: Tools, photos: tuple[bytes, ...], class_cache: Path) -> TrainingJob:
    """Return the lesson: what the event says, then what the settings say; the device process knows the rest."""
    training, event = tools.settings.training, request.event
    chosen = training.method_settings(event.method).model_dump()
    if event.steps is not None:
        chosen["steps"] = event.steps
    return TrainingJob(
        request_id=request.id,
        product_id=event.product_id,
        class_noun=event.class_noun,
        placeholder_token=placeholder(event.product_id, event.method),
        method=event.method,
        photos=photos,
        seed=seeds_from(request.id, 1)[0] if event.seed is None else event.seed,
        workdir=str(request.folder),
        checkpoint_every=training.checkpoint_every,
        checkpoint_seconds=training.checkpoint_seconds,
        class_cache=str(class_cache),
        **chosen,
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """Keep the folder where the lesson goes on here (the device process died, an outage), or may; else remove it."""
    try:
        yield
    except CreativesError as error:
        if judge(error, failures=1, limit=1) is Verdict.DEAD_LETTER:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _tidy(folder: Path, class_cache: Path) -> None:
    """Remove what lessons left that ended elsewhere or with their worker, and the oldest class images."""
    for path in folder.parent.glob("*"):
        with suppress(FileNotFoundError):
            if path != folder and path.stat().st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
    for path in newest_first(list(class_cache.glob("*")))[_KEPT_CLASSES:]:
        if path.is_file():
            path.unlink(missing_ok=True)


async def delete_checkpoints(request: Request, store: ObjectStore) -> None:
    """Remove scratch and stored checkpoints of a product that has its outcome."""
    await asyncio.to_thread(shutil.rmtree, request.folder, ignore_errors=True)
    for key in await store.list(checkpoint_prefix(request.event.product_id, request.id)):
        await store.delete(key)


async def _keep_checkpoint(request: Request, store: ObjectStore, path: Path) -> None:
    """Upload a checkpoint, then remove the older ones."""
    prefix = checkpoint_prefix(request.event.product_id, request.id)
    try:
        await store.upload(prefix + path.name, path, SAFETENSORS)
    except FileNotFoundError:
        return  # the learner has written a newer one meanwhile and removed this
    for key in await store.list(prefix):
        if key < prefix + path.name:
            await store.delete(key)


async def _resume(request: Request, store: ObjectStore) -> None:
    """Bring the newest checkpoint here, unless one as new is here already."""
    prefix = checkpoint_prefix(request.event.product_id, request.id)
    keys = await store.list(prefix)
    if not keys:
        return
    name = keys[-1].removeprefix(prefix)
    request.folder.mkdir(parents=True, exist_ok=True)
    if not any(path.name >= name for path in request.folder.glob(f"checkpoint-*{Path(name).suffix}")):
        arriving = request.folder / f"{name}.arriving"
        if await store.download(keys[-1], arriving):
            arriving.replace(request.folder / name)
