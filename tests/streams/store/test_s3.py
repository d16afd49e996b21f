"""What goes wrong with an object store, and what is said of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from models.errors import CreativesError
from streams.failures import StoreRefused, StoreUnavailable
from streams.settings import StorageSettings
from streams.store.keys import creative_prefix, current_concept_key, parked_key, picture_name
from streams.store.s3 import MinioStore

SECRET = "s3cret-Of-Ours"
ACCESS = "AKIAOURS"


def store_at(endpoint: str, **changes: Any) -> MinioStore:
    given = {"endpoint": endpoint, "access_key": ACCESS, "secret_key": SECRET, "timeout": 1.0}
    return MinioStore(StorageSettings.model_validate(given | changes))


class Scripted:
    """An HTTP server that answers by script: a function of (method, path, headers) to (status, XML code)."""

    def __init__(self) -> None:
        self.script: Callable[[str, str, dict[str, str]], tuple[int, str]] = lambda *_: (200, "")
        self.seen: list[tuple[str, str | None]] = []
        self.torn: int | None = None  # bytes after which an answer ends
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                scripted.seen.append((self.command, self.headers.get("If-None-Match")))
                status, code = scripted.script(self.command, self.path, dict(self.headers))
                body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""
                body = body[: scripted.torn]
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("ETag", '"x"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    found = Scripted()
    yield found
    found.server.shutdown()
    found.thread.join()
    found.server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (503, "XMinioServerNotInitialized", StoreUnavailable),
        (502, "", StoreUnavailable),
        (429, "", StoreUnavailable),
        (403, "AccessDenied", StoreRefused),
        (403, "SignatureDoesNotMatch", StoreRefused),
        (404, "NoSuchBucket", StoreRefused),
        (405, "MethodNotAllowed", StoreRefused),
    ],
)
async def test_answers_and_their_meaning(
    scripted: Scripted, status: int, code: str, error: type[CreativesError]
) -> None:
    scripted.script = lambda *_: (status, code)
    store = store_at(scripted.endpoint)
    for call in (
        store.get("k"), store.put("k", b"x", "text/plain"), store.list("k"), store.put_if_absent("k", b"x", "text/plain")
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            await call
        assert_clean(caught.value)
    store.close()


async def test_a_torn_answer_is_an_outage(scripted: Scripted) -> None:
    scripted.script = lambda *_: (503, "SlowDown")
    scripted.torn = 20
    store = store_at(scripted.endpoint)
    for call in (store.get("k"), store.put("k", b"x", "text/plain"), store.list("k")):
        with pytest.raises(StoreUnavailable, match="does not answer: ParseError") as caught:
            await call
        assert_clean(caught.value)
    store.close()


async def test_nobody_home() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = store_at(f"http://127.0.0.1:{port}")
    for call in (store.check(), store.get("k"), store.put_if_absent("k", b"x", "text/plain")):
        with pytest.raises(StoreUnavailable, match="does not answer: Connection refused") as caught:
            await call
        assert_clean(caught.value)
    store.close()


async def test_a_store_that_accepts_and_then_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = store_at(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(StoreUnavailable, match=r"ReadTimeoutError|timed out"):
            await store.get("k")
        store.close()


def assert_clean(error: BaseException) -> None:
    """No credential and no signature in anything that a log could show."""
    shown = f"{error} {error!r} {error.__cause__!r} {error.__dict__}"
    assert SECRET not in shown
    assert ACCESS not in shown
    assert "Signature=" not in shown


async def test_a_missing_bucket_says_what_to_do(scripted: Scripted) -> None:
    scripted.script = lambda *_: (404, "NoSuchBucket")
    store = store_at(scripted.endpoint)
    with pytest.raises(
        StoreRefused, match=r"no bucket 'creatives'\. Create it, or name another with CREATIVES_STORAGE"
    ):
        await store.check()
    store.close()


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://x", "http://", "http://x/path", "http://user:pw@x"])
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(StoreRefused, match="must be http://host:port or https://host:port") as caught:
        MinioStore(StorageSettings().model_copy(update={"endpoint": endpoint}))  # the settings' own check left out
    assert "pw" not in str(caught.value)


async def test_a_bucket_that_can_be_none_is_refused_not_a_bug(scripted: Scripted) -> None:
    store = MinioStore(StorageSettings(endpoint=scripted.endpoint).model_copy(update={"bucket": "zz"}))
    with pytest.raises(StoreRefused, match="CREATIVES_STORAGE__BUCKET"):
        await store.check()
    store.close()


async def test_a_store_that_does_not_know_conditions(scripted: Scripted) -> None:
    """501 to the condition: a look, then a write without it."""
    held: set[str] = set()

    def script(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        key = path.partition("?")[0]
        if method == "HEAD":
            return (200, "") if key in held else (404, "")
        if "If-None-Match" in headers:
            return 501, "NotImplemented"
        held.add(key)
        return 200, ""

    scripted.script = script
    store = store_at(scripted.endpoint)
    assert await store.put_if_absent("a", b"1", "text/plain") is True
    assert await store.put_if_absent("a", b"2", "text/plain") is False
    store.close()


async def test_a_store_that_ignores_conditions_is_found_out(scripted: Scripted) -> None:
    held: set[str] = set()

    def script(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        key = path.partition("?")[0]
        if method == "HEAD":
            return (200, "") if key in held else (404, "")
        held.add(key)
        return 200, ""

    scripted.script = script
    store = store_at(scripted.endpoint)
    assert await store.put_if_absent("a", b"1", "text/plain") is True
    assert await store.put_if_absent("a", b"2", "text/plain") is False
    assert [method for method, _ in scripted.seen] == ["HEAD", "PUT", "PUT", "HEAD"]
    store.close()


async def test_a_store_that_honours_conditions_is_asked_once(scripted: Scripted) -> None:
    held: set[str] = set()

    def script(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        key = path.partition("?")[0]
        if method == "HEAD":
            return (200, "") if key in held else (404, "")
        if key in held and headers.get("If-None-Match") == "*":
            return 412, "PreconditionFailed"
        held.add(key)
        return 200, ""

    scripted.script = script
    store = store_at(scripted.endpoint)
    assert await store.put_if_absent("a", b"1", "text/plain") is True
    scripted.seen.clear()
    assert await store.put_if_absent("b", b"1", "text/plain") is True
    assert await store.put_if_absent("b", b"1", "text/plain") is False
    assert scripted.seen == [("PUT", "*"), ("PUT", "*")]
    store.close()


async def test_a_conflict_is_tried_again(scripted: Scripted) -> None:
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
    url, ends = store.link("a/1.png")
    assert url.startswith("http://x:9000/creatives/a/1.png?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert SECRET not in url
    assert ends is not None
    store.close()


@pytest.mark.parametrize(
    "part", ["", ".", "..", "a/b", "a\\b", "a..b", ".a", "a b", "a\n", "a?b", "a#b", "a%2fb", "a\0"]
)
def test_ids_cannot_leave_their_place(part: str) -> None:
    for key in (lambda: creative_prefix(part, "r"), lambda: creative_prefix("s", part),
                lambda: parked_key(part, "r"), lambda: current_concept_key(part)):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be part of an object key"):
            key()


def test_keys() -> None:
    assert creative_prefix("coffee", "r1") + picture_name(2, "image/jpeg") == "creatives/coffee/r1/2.jpg"
    assert parked_key("jam", "r1") == "parked/jam/r1.json"
