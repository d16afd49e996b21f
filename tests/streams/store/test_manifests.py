"""A request's objects and its manifest: what is written first, and whose outcome stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from models.briefs import Candidate
from streams.failures import StoreUnavailable
from streams.messages import Outcome
from streams.store.manifests import Manifest, ObjectSet, commit, read_outcome
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


def test_a_manifest_holds_the_outcome_as_it_is_published_and_every_candidate() -> None:
    written = manifest("ours").to_json()
    assert read_outcome(written) == manifest("ours").outcome == outcome("ours")
    assert Manifest.model_validate_json(written) == manifest("ours")
    assert written.endswith(
        b'"candidates":[{"format":"square","index":0,"seed":7,"scores":{"clip":0.5},"rank":1},'
        b'{"format":"square","index":1,"seed":8,"scores":{"clip":0.25}}]}'
    )


async def test_a_set_is_pictures_then_manifest() -> None:
    store = MemoryStore()
    assert await commit(store, "p/", lambda: ObjectSet(items(2), manifest("mine"))) == outcome("mine")
    assert store.calls[-1] == ("put_if_absent", "p/manifest.json")
    assert store.objects["p/manifest.json"] == manifest("mine").to_json()
    assert await commit(store, "p/", lambda: ObjectSet(items(2), manifest("another's"))) == outcome("mine")


async def test_a_set_is_made_while_the_store_is_asked_and_is_not_written_over_one_that_stands() -> None:
    store = MemoryStore()
    store.objects["p/manifest.json"] = manifest("theirs").to_json()

    def make() -> ObjectSet:
        assert store.calls == [("get", "p/manifest.json")]
        return ObjectSet(items(1), manifest("mine"))

    assert await commit(store, "p/", make) == outcome("theirs")
    assert len(store.calls) == 1


async def test_of_two_that_write_at_once_the_first_stands() -> None:
    class Contested(MemoryStore):
        def put_if_absent(self, key: str, content: bytes, media_type: str) -> Awaitable[bool]:
            self.objects.setdefault(key, manifest("theirs").to_json())
            return super().put_if_absent(key, content, media_type)

    assert await commit(Contested(), "p/", lambda: ObjectSet(items(1), manifest("mine"))) == outcome("theirs")


async def test_a_set_that_cannot_be_made_leaves_no_question_behind() -> None:
    asked: list[asyncio.Future[bytes | None]] = []

    class Silent(MemoryStore):
        def get(self, key: str, limit: int | None = None) -> Awaitable[bytes | None]:
            asked.append(asyncio.get_running_loop().create_future())
            return asked[-1]

    def make() -> ObjectSet:
        raise ZeroDivisionError

    before = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        await commit(Silent(), "p/", make)
    assert [question.cancelled() for question in asked] == [True]
    assert asyncio.all_tasks() == before


async def test_no_manifest_without_its_pictures() -> None:
    store = MemoryStore()

    def fail(operation: str, key: str) -> None:
        if key.endswith("2.png"):
            fakes.unavailable(operation, key)

    store.fail = fail
    with pytest.raises(StoreUnavailable):  # the error itself, no group: its verdict depends on its type
        await commit(store, "p/", lambda: ObjectSet(items(3), manifest("mine")))
    assert "p/manifest.json" not in store.objects
