"""A request's objects and its manifest: the order of writes, and which of two workers wins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

import pytest

from models.briefs import Candidate
from schemas.events import CreativeReady
from streams.failures import StoreUnavailable
from streams.messages import Outcome
from streams.store.manifests import Manifest, ObjectSet, build_manifest, commit, read_manifest
from streams.store.signed_objects import InvalidObjects, SignedObjects
from tests import fakes
from tests.fakes import MemoryStore
from tests.streams.store.outcome_examples import SEGMENT, creative_set, sha256
from tests.streams.store.signing import FOREIGN, HOSTILE, SIGNER

KEY = f"{SEGMENT}manifest.json"


def outcome(words: str, count: int = 1) -> Outcome:
    return creative_set(words, count).manifest.outcome


def stored(words: str) -> bytes:
    return SIGNER.sign(KEY, creative_set(words).manifest.to_json())


def announced(published: Outcome) -> dict[str, str]:
    """Return the announced sha256 by key."""
    images = json.loads(published.value)["images"]
    return {image["s3_uri"].removeprefix("s3://creatives/"): image["sha256"] for image in images}


def test_a_manifest_holds_the_published_outcome_and_every_candidate() -> None:
    made = (Candidate("square", 0, 7, {"clip": 0.5}, 1), Candidate("square", 1, 8, {"clip": 0.25}, None))
    manifest = creative_set("ours").manifest.model_copy(update={"candidates": made})
    written = manifest.to_json()
    assert Manifest.model_validate_json(written) == manifest
    assert written.endswith(
        b'"candidates":[{"format":"square","index":0,"seed":7,"scores":{"clip":0.5},"rank":1},'
        b'{"format":"square","index":1,"seed":8,"scores":{"clip":0.25}}]}'
    )


async def test_the_manifest_is_written_last(store: MemoryStore, signed: SignedObjects) -> None:
    assert await commit(signed, SEGMENT, lambda: creative_set("mine", 2)) == outcome("mine", 2)
    assert store.calls[-1] == ("put_if_absent", KEY)
    assert store.objects[KEY] == SIGNER.sign(KEY, creative_set("mine", 2).manifest.to_json())
    assert await commit(signed, SEGMENT, lambda: creative_set("another's", 2)) == outcome("mine", 2)
    assert await read_manifest(signed, SEGMENT) == outcome("mine", 2)


async def test_the_set_is_built_while_the_store_answers_and_never_overwrites_a_manifest(
    store: MemoryStore, signed: SignedObjects
) -> None:
    store.objects[KEY] = stored("theirs")

    def make() -> ObjectSet:
        assert store.calls == [("get", KEY)]
        return creative_set("mine")

    assert await commit(signed, SEGMENT, make) == outcome("theirs")
    assert len(store.calls) == 1


async def test_the_first_of_two_concurrent_writers_wins() -> None:
    class Contested(MemoryStore):
        def put_if_absent(self, key: str, content: bytes, media_type: str) -> Awaitable[bool]:
            self.objects.setdefault(key, stored("theirs"))
            return super().put_if_absent(key, content, media_type)

    signed = SignedObjects(Contested(), SIGNER, InvalidObjects())
    assert await commit(signed, SEGMENT, lambda: creative_set("mine")) == outcome("theirs")


async def test_a_slow_upload_never_overwrites_what_the_faster_worker_announced() -> None:
    """A passes the check and uploads slowly. While its uploads are held, B commits other bytes. Then A's uploads arrive."""
    released = asyncio.Event()

    class Slow(MemoryStore):
        def put(self, key: str, content: bytes, media_type: str) -> Awaitable[None]:
            async def later() -> None:
                await released.wait()
                await MemoryStore.put(self, key, content, media_type)

            return later() if content.startswith(b"slow") else super().put(key, content, media_type)

    store = Slow()
    signed = SignedObjects(store, SIGNER, InvalidObjects())
    slow = asyncio.create_task(commit(signed, SEGMENT, lambda: creative_set("slow", 2)))
    await asyncio.sleep(0)
    fast = await commit(signed, SEGMENT, lambda: creative_set("fast", 2))
    released.set()
    assert await slow == fast == outcome("fast", 2)
    assert announced(fast) == {key: sha256(store.objects[key]) for key in announced(fast)}


@pytest.mark.parametrize(
    "planted",
    [
        *HOSTILE,
        creative_set("planted").manifest.to_json(),
        FOREIGN.sign(KEY, creative_set("planted").manifest.to_json()),
        SIGNER.sign("creatives/s1/r-2/manifest.json", creative_set("copied").manifest.to_json()),
        SIGNER.sign(KEY, b'{"topic":"segment_updated","key":"s1","headers":[],"message":"{}"}'),
    ],
)
async def test_two_workers_that_replace_a_planted_manifest_announce_one_outcome(planted: bytes) -> None:
    """Both workers see the planted manifest before either replaces it."""
    seen = asyncio.Barrier(2)

    class Contested(MemoryStore):
        def put_if_match(self, key: str, content: bytes, media_type: str, etag: str) -> Awaitable[bool]:
            async def together() -> bool:
                await seen.wait()
                return await MemoryStore.put_if_match(self, key, content, media_type, etag)

            return together()

    store = Contested()
    store.objects[KEY] = planted
    a, b = (SignedObjects(store, SIGNER, InvalidObjects()) for _ in range(2))
    made = await asyncio.gather(
        commit(a, SEGMENT, lambda: creative_set("from a")), commit(b, SEGMENT, lambda: creative_set("from b"))
    )
    assert made[0] == made[1] == await read_manifest(a, SEGMENT)
    assert announced(made[0]) == {key: sha256(store.objects[key]) for key in announced(made[0])}


async def test_a_failed_set_leaves_no_pending_request() -> None:
    requests: list[asyncio.Future[bytes | None]] = []

    class Unanswering(MemoryStore):
        def get(self, key: str, limit: int | None = None) -> Awaitable[bytes | None]:
            requests.append(asyncio.get_running_loop().create_future())
            return requests[-1]

    def make() -> ObjectSet:
        raise ZeroDivisionError

    before = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        await commit(SignedObjects(Unanswering(), SIGNER, InvalidObjects()), SEGMENT, make)
    assert [request.cancelled() for request in requests] == [True]
    assert asyncio.all_tasks() == before


async def test_a_failed_picture_upload_writes_no_manifest(store: MemoryStore, signed: SignedObjects) -> None:
    def fail(operation: str, key: str) -> None:
        if key.startswith(f"{SEGMENT}square-2-"):
            fakes.unavailable(operation, key)

    store.fail = fail
    with pytest.raises(StoreUnavailable):  # not an exception group: the verdict depends on the type
        await commit(signed, SEGMENT, lambda: creative_set("mine", 3))
    assert KEY not in store.objects


async def test_a_manifest_that_no_reader_would_accept_is_never_written(
    store: MemoryStore, signed: SignedObjects
) -> None:
    message = CreativeReady.model_validate_json(creative_set("mine").manifest.message)
    wrong = build_manifest("product_ready", "s1", message, ())
    with pytest.raises(ValueError, match="product_ready is not a topic"):
        await commit(signed, SEGMENT, lambda: ObjectSet([], wrong))
    assert store.objects == {}
