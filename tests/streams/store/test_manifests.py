"""A request's objects and its manifest: the order of writes, and which of two workers wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from models.briefs import Candidate
from streams.failures import StoreUnavailable
from streams.messages import Outcome
from streams.store.manifests import Manifest, ObjectSet, commit, read_outcome, traceparent
from streams.store.protocol import StoredObject
from tests import fakes
from tests.fakes import MemoryStore


def manifest(words: str) -> Manifest:
    made = (Candidate("square", 0, 7, {"clip": 0.5}, 1), Candidate("square", 1, 8, {"clip": 0.25}, None))
    headers = (("ce_id", "1"), ("ce_id", "é"))
    return Manifest(topic="creative_ready", key="s1", headers=headers, message=f'{{"said":"{words}"}}', candidates=made)


def outcome(words: str) -> Outcome:
    headers = (("ce_id", b"1"), ("ce_id", "é".encode()))
    return Outcome("creative_ready", b"s1", f'{{"said":"{words}"}}'.encode(), headers)


def items(count: int) -> list[StoredObject]:
    return [StoredObject(f"{rank}.png", b"x", "image/png") for rank in range(1, count + 1)]


def test_a_manifest_holds_the_published_outcome_and_every_candidate() -> None:
    written = manifest("ours").to_json()
    assert read_outcome(written) == manifest("ours").outcome == outcome("ours")
    assert Manifest.model_validate_json(written) == manifest("ours")
    assert written.endswith(
        b'"candidates":[{"format":"square","index":0,"seed":7,"scores":{"clip":0.5},"rank":1},'
        b'{"format":"square","index":1,"seed":8,"scores":{"clip":0.25}}]}'
    )


async def test_the_manifest_is_written_last() -> None:
    store = MemoryStore()
    assert await commit(store, "p/", lambda: ObjectSet(items(2), manifest("mine"))) == outcome("mine")
    assert store.calls[-1] == ("put_if_absent", "p/manifest.json")
    assert store.objects["p/manifest.json"] == manifest("mine").to_json()
    assert await commit(store, "p/", lambda: ObjectSet(items(2), manifest("another's"))) == outcome("mine")


async def test_the_set_is_built_while_the_store_answers_and_never_overwrites_a_manifest() -> None:
    store = MemoryStore()
    store.objects["p/manifest.json"] = manifest("theirs").to_json()

    def make() -> ObjectSet:
        assert store.calls == [("get", "p/manifest.json")]
        return ObjectSet(items(1), manifest("mine"))

    assert await commit(store, "p/", make) == outcome("theirs")
    assert len(store.calls) == 1


async def test_the_first_of_two_concurrent_writers_wins() -> None:
    class Contested(MemoryStore):
        def put_if_absent(self, key: str, content: bytes, media_type: str) -> Awaitable[bool]:
            self.objects.setdefault(key, manifest("theirs").to_json())
            return super().put_if_absent(key, content, media_type)

    assert await commit(Contested(), "p/", lambda: ObjectSet(items(1), manifest("mine"))) == outcome("theirs")


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
        await commit(Unanswering(), "p/", make)
    assert [request.cancelled() for request in requests] == [True]
    assert asyncio.all_tasks() == before


async def test_a_failed_picture_upload_writes_no_manifest() -> None:
    store = MemoryStore()

    def fail(operation: str, key: str) -> None:
        if key.endswith("2.png"):
            fakes.unavailable(operation, key)

    store.fail = fail
    with pytest.raises(StoreUnavailable):  # not an exception group: the verdict depends on the type
        await commit(store, "p/", lambda: ObjectSet(items(3), manifest("mine")))
    assert "p/manifest.json" not in store.objects


@pytest.mark.parametrize(
    "parent", [b"", b"\xff\xfe", b"00-zz", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"01-a-b-c"]
)
def test_a_broken_trace_is_replaced(parent: bytes) -> None:
    assert traceparent("r", (("traceparent", parent),)) == traceparent("r", ())
