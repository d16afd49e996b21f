"""The S3 client: bad settings, conditional writes and links."""

from __future__ import annotations

import pytest

from streams.failures import ObjectTooLarge, StoreRefused, StoreUnavailable
from streams.settings import StorageSettings
from streams.store.s3 import MinioStore
from tests.streams.store.scripted_server import SECRET, Scripted, store_at


async def test_the_error_for_a_missing_bucket_names_the_fix(scripted: Scripted) -> None:
    scripted.script = lambda *_: (404, "NoSuchBucket")
    store = store_at(scripted.endpoint)
    with pytest.raises(
        StoreRefused, match=r"no bucket 'creatives'\. Create it, or name another with CREATIVES_STORAGE"
    ):
        await store.check()
    store.close()


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://x", "http://", "http://x/path", "http://user:pw@x"])
def test_an_invalid_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(StoreRefused, match="must be http://host:port or https://host:port") as caught:
        MinioStore(
            StorageSettings().model_copy(update={"endpoint": endpoint})
        )  # model_copy skips the check of the settings
    assert "pw" not in str(caught.value)


async def test_an_invalid_bucket_name_is_refused(scripted: Scripted) -> None:
    store = MinioStore(StorageSettings(endpoint=scripted.endpoint).model_copy(update={"bucket": "zz"}))
    with pytest.raises(StoreRefused, match="CREATIVES_STORAGE__BUCKET"):
        await store.check()
    store.close()


async def test_put_if_absent_without_support_for_conditions(scripted: Scripted) -> None:
    """The store answers 501 to If-None-Match, so the client checks first and then writes without it."""
    keys: set[str] = set()

    def script(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        key = path.partition("?")[0]
        if method == "HEAD":
            return (200, "") if key in keys else (404, "")
        if "If-None-Match" in headers:
            return 501, "NotImplemented"
        keys.add(key)
        return 200, ""

    scripted.script = script
    store = store_at(scripted.endpoint)
    assert await store.put_if_absent("a", b"1", "text/plain") is True
    assert await store.put_if_absent("a", b"2", "text/plain") is False
    store.close()


async def test_put_if_absent_detects_ignored_conditions(scripted: Scripted) -> None:
    keys: set[str] = set()

    def script(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        key = path.partition("?")[0]
        if method == "HEAD":
            return (200, "") if key in keys else (404, "")
        keys.add(key)
        return 200, ""

    scripted.script = script
    store = store_at(scripted.endpoint)
    assert await store.put_if_absent("a", b"1", "text/plain") is True
    assert await store.put_if_absent("a", b"2", "text/plain") is False
    assert [method for method, _ in scripted.seen] == ["HEAD", "PUT", "PUT", "HEAD"]
    store.close()


async def test_put_if_absent_needs_one_request_if_conditions_work(scripted: Scripted) -> None:
    keys: set[str] = set()

    def script(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        key = path.partition("?")[0]
        if method == "HEAD":
            return (200, "") if key in keys else (404, "")
        if key in keys and headers.get("If-None-Match") == "*":
            return 412, "PreconditionFailed"
        keys.add(key)
        return 200, ""

    scripted.script = script
    store = store_at(scripted.endpoint)
    assert await store.put_if_absent("a", b"1", "text/plain") is True
    scripted.seen.clear()
    assert await store.put_if_absent("b", b"1", "text/plain") is True
    assert await store.put_if_absent("b", b"1", "text/plain") is False
    assert scripted.seen == [("PUT", "*"), ("PUT", "*")]
    store.close()


async def test_a_conflict_is_an_outage(scripted: Scripted) -> None:
    scripted.script = lambda method, *_: (404, "") if method == "HEAD" else (409, "ConditionalRequestConflict")
    store = store_at(scripted.endpoint)
    with pytest.raises(StoreUnavailable):
        await store.put_if_absent("a", b"1", "text/plain")
    store.close()


def test_public_links_are_not_signed() -> None:
    store = store_at("http://x:9000", public_base="https://cdn.example/creatives/")
    assert store.link("a b/1.png") == ("https://cdn.example/creatives/a%20b/1.png", None)
    store.close()


def test_signed_links_hold_no_secret() -> None:
    store = store_at("http://x:9000")
    url, expires_at = store.link("a/1.png")
    assert url.startswith("http://x:9000/creatives/a/1.png?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert SECRET not in url
    assert expires_at is not None
    store.close()


async def test_a_download_above_its_limit_writes_nothing(scripted: Scripted) -> None:
    scripted.body = bytes(2 * 2**20)
    chunks: list[bytes] = []
    store = store_at(scripted.endpoint)
    with pytest.raises(ObjectTooLarge):
        await store.download("concept", chunks.append, limit=len(scripted.body) - 1)
    assert chunks == []
    assert await store.download("concept", chunks.append, limit=len(scripted.body))
    store.close()
