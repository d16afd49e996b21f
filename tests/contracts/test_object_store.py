"""One contract for every ObjectStore: in memory, embedded (moto), and a real MinIO if the environment names one."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from minio.error import S3Error

from streams.embedded import EmbeddedStore
from streams.failures import ObjectTooLarge
from streams.settings import Settings, StorageSettings
from streams.store.protocol import ObjectStore
from streams.store.s3 import MinioStore
from tests.fakes import MemoryStore


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedStore]:
    store = EmbeddedStore("creatives")
    yield store
    store.stop()


@pytest.fixture(params=["memory", "embedded", pytest.param("real", marks=pytest.mark.services)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "embedded":
        settings = StorageSettings(endpoint=request.getfixturevalue("embedded").endpoint)
    else:
        if os.environ.get("CREATIVES_STORAGE__ENDPOINT", "embedded") == "embedded":
            pytest.fail("no real object store: CREATIVES_STORAGE__ENDPOINT is not set (scripts/services up)")
        settings = Settings().storage.model_copy(update={"bucket": f"contract-{uuid.uuid4().hex[:8]}"})
    minio = MinioStore(settings)
    await minio.make_bucket()
    yield minio
    minio.close()


@pytest.fixture
def own() -> str:
    """A key prefix that only this test uses."""
    return f"{uuid.uuid4().hex}/"


async def test_get_returns_the_last_content(store: ObjectStore, own: str) -> None:
    content = bytes(range(256)) * 400
    await store.put(own + "1.png", content, "image/png")
    assert await store.get(own + "1.png") == content
    await store.put(own + "1.png", b"", "image/png")
    assert await store.get(own + "1.png") == b""


async def test_put_starts_before_it_is_awaited(store: ObjectStore, own: str) -> None:
    answer = store.put(own + "a", b"one", "text/plain")
    async with asyncio.timeout(30):
        while await store.get(own + "a") is None:  # noqa: ASYNC110 - the store has no event to wait for
            await asyncio.sleep(0.01)
    await answer


async def test_a_missing_object_is_not_an_error(store: ObjectStore, own: str, tmp_path: Path) -> None:
    assert await store.get(own + "nothing") is None
    chunks: list[bytes] = []
    assert await store.download(own + "nothing", chunks.append) is False
    assert chunks == []
    assert await store.list(own) == []
    await store.delete(own + "nothing")


async def test_the_first_writer_wins(store: ObjectStore, own: str) -> None:
    key = own + "manifest.json"
    assert await store.put_if_absent(key, b"first", "application/json") is True
    assert await store.put_if_absent(key, b"second", "application/json") is False
    assert await store.get(key) == b"first"
    await store.delete(key)
    assert await store.put_if_absent(key, b"third", "application/json") is True


async def test_exactly_one_of_many_writers_wins(store: ObjectStore, own: str) -> None:
    await store.put_if_absent(own + "warm-up", b"", "text/plain")  # detects whether the store honours conditions
    key = own + "manifest.json"
    won = await asyncio.gather(*(store.put_if_absent(key, b"%d" % n, "application/json") for n in range(12)))
    assert sum(won) == 1
    assert await store.get(key) == b"%d" % won.index(True)


async def test_an_object_is_replaced_only_if_it_is_the_one_that_was_seen(store: ObjectStore, own: str) -> None:
    key = own + "manifest.json"
    assert await store.etag(key) is None
    assert await store.put_if_match(key, b"nothing to replace", "application/json", "0" * 32) is False
    await store.put(key, b"seen", "application/json")
    etag = await store.etag(key)
    assert etag is not None
    await store.put(key, b"changed", "application/json")
    assert await store.put_if_match(key, b"late", "application/json", etag) is False
    assert await store.get(key) == b"changed"
    etag = await store.etag(key) or ""
    won = await asyncio.gather(*(store.put_if_match(key, b"%d" % n, "application/json", etag) for n in range(8)))
    assert sum(won) == 1
    assert await store.get(key) == b"%d" % won.index(True)


async def test_an_object_that_cannot_be_inspected_has_an_etag(
    embedded: EmbeddedStore, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store answers 400 to HEAD for an object that its writer encrypted with a key of its own."""
    store = MinioStore(StorageSettings(endpoint=embedded.endpoint))
    await store.put(own + "a", b"x", "text/plain")
    await store.put(own + "a-longer-name", b"y", "text/plain")
    etag = await store.etag(own + "a")
    response = SimpleNamespace(status=400)
    error = S3Error(response, "BadRequest", "Bad request", own, "r", "h", None, None)  # type: ignore[arg-type]
    monkeypatch.setattr(store._client, "stat_object", Mock(side_effect=error))
    assert await store.etag(own + "a") == etag
    assert await store.etag(own + "missing") is None
    store.close()


async def test_an_object_is_read_as_it_is_stored(store: ObjectStore, own: str) -> None:
    """A Content-Encoding that the writer made up must neither inflate an object nor look like an outage."""
    content = gzip.compress(bytes(2**20))
    if isinstance(store, MinioStore):
        for name, stored in (("bomb", content), ("broken", b"not gzip")):
            encoded = {"Content-Encoding": "gzip"}
            store._client.put_object(store._bucket, own + name, io.BytesIO(stored), len(stored), "text/plain", encoded)
    else:
        await store.put(own + "bomb", content, "text/plain")
        await store.put(own + "broken", b"not gzip", "text/plain")
    assert await store.get(own + "bomb", 2**16) == content
    assert await store.get(own + "broken", 100) == b"not gzip"


async def test_get_raises_above_its_size_limit(store: ObjectStore, own: str) -> None:
    await store.put(own + "photo", b"12345", "image/png")
    assert await store.get(own + "photo", limit=5) == b"12345"
    with pytest.raises(ObjectTooLarge, match="is larger than 4 bytes"):
        await store.get(own + "photo", limit=4)


async def test_list_returns_sorted_keys_below_a_prefix(store: ObjectStore, own: str) -> None:
    for name in ("b/2", "a", "b/1", "bb"):
        await store.put(own + name, b"x", "text/plain")
    assert await store.list(own + "b/") == [own + "b/1", own + "b/2"]
    await store.delete(own + "b/1")
    assert await store.list(own) == [own + "a", own + "b/2", own + "bb"]


async def test_list_returns_keys_written_before_a_time(store: ObjectStore, own: str) -> None:
    await store.put(own + "a", b"x", "text/plain")
    now = datetime.now(UTC)
    assert await store.list(own, now - timedelta(minutes=1)) == []
    assert await store.list(own, now + timedelta(minutes=1)) == [own + "a"]


async def test_upload_and_download_a_file(store: ObjectStore, own: str, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"concept" * 1000)
    await store.upload(own + "concept", tmp_path / "up", "application/octet-stream")
    chunks: list[bytes] = []
    assert await store.download(own + "concept", chunks.append) is True
    assert b"".join(chunks) == b"concept" * 1000
    with pytest.raises(ObjectTooLarge, match="is larger than 6999 bytes"):
        await store.download(own + "concept", chunks.append, limit=6999)
    with pytest.raises(FileNotFoundError):
        await store.upload(own + "concept", tmp_path / "gone", "application/octet-stream")


async def test_a_large_object_survives_a_round_trip(store: ObjectStore, own: str) -> None:
    content = os.urandom(17 * 2**20)
    await store.put(own + "large", content, "application/octet-stream")
    assert await store.get(own + "large") == content


async def test_check_and_uri(store: ObjectStore) -> None:
    await store.check()
    assert store.uri("a/b").endswith("/a/b")
    assert store.uri("").startswith("s3://")


async def test_a_link_can_be_downloaded(store: ObjectStore, own: str) -> None:
    await store.put(own + "ä 1+2.png", b"picture", "image/png")
    url, expires_at = store.link(own + "ä 1+2.png")
    if isinstance(store, MemoryStore):
        assert expires_at is None
        return
    assert expires_at is not None
    assert 6 < (expires_at - datetime.now(UTC)).days + 1 <= 7
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"picture", "image/png")


@pytest.mark.services
@pytest.mark.parametrize("tamper", ["signature", "expiry", "anonymous", "other"])
async def test_a_changed_link_is_rejected(store: ObjectStore, own: str, tamper: str) -> None:
    """A real store verifies signatures; moto does not."""
    if not isinstance(store, MinioStore) or store.endpoint != os.environ.get("CREATIVES_STORAGE__ENDPOINT"):
        return
    await store.put(own + "1.png", b"picture", "image/png")
    await store.put(own + "2.png", b"other", "image/png")
    url, _ = store.link(own + "1.png")
    changed: dict[str, Any] = {
        "signature": url[:-1] + ("0" if url[-1] != "0" else "1"),
        "expiry": url.replace("X-Amz-Expires=604800", "X-Amz-Expires=604799"),
        "anonymous": url.split("?")[0],
        "other": url.replace("1.png", "2.png"),
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).status_code == 200
        assert (await client.get(changed[tamper])).status_code == 403
