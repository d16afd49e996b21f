"""Which errors of an S3 store count as an outage, and which as a refusal. No error shows a secret."""

from __future__ import annotations

import socket

import pytest

from models.errors import CreativesError
from streams.failures import ObjectRefused, StoreRefused, StoreUnavailable
from tests.streams.store.scripted_server import Scripted, assert_clean, store_at


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
async def test_status_and_code_decide_the_error(
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


DENIED = (403, "")  # what a store answers to HEAD of a bucket: no body, so no code


@pytest.mark.parametrize(
    ("object_answer", "bucket_answer", "error"),
    [
        ((400, "KeyTooLongError"), (200, ""), ObjectRefused),
        ((400, "XMinioInvalidObjectName"), (200, ""), ObjectRefused),
        ((400, "InvalidURI"), (200, ""), ObjectRefused),
        ((400, ""), (200, ""), ObjectRefused),  # a proxy's page
        ((403, "AccessDenied"), (200, ""), ObjectRefused),
        ((403, "InvalidObjectState"), (200, ""), ObjectRefused),  # archived
        ((403, "SignatureDoesNotMatch"), (200, ""), ObjectRefused),  # a proxy rewrites this name
        ((404, "NoSuchVersion"), (200, ""), ObjectRefused),
        ((405, "MethodNotAllowed"), (200, ""), ObjectRefused),
        ((403, "AccessDenied"), DENIED, StoreRefused),
        ((403, "SignatureDoesNotMatch"), DENIED, StoreRefused),
        ((400, "KeyTooLongError"), (404, ""), StoreRefused),  # no bucket
        ((403, "AccessDenied"), (503, ""), StoreUnavailable),
        ((403, "InvalidAccessKeyId"), (200, ""), StoreRefused),  # these become good only by a correction
        ((403, "RequestTimeTooSkewed"), (200, ""), StoreRefused),
        ((400, "ExpiredToken"), (200, ""), StoreRefused),
        ((404, "NoSuchBucket"), (200, ""), StoreRefused),
        ((400, "RequestTimeout"), (200, ""), StoreUnavailable),
        ((429, "TooManyRequests"), (200, ""), StoreUnavailable),
        ((429, ""), (200, ""), StoreUnavailable),
        ((500, "XMinioSomething"), (200, ""), StoreUnavailable),
        ((503, "SlowDown"), (200, ""), StoreUnavailable),
    ],
)
async def test_an_error_about_one_object_is_not_one_about_the_deployment(
    scripted: Scripted,
    object_answer: tuple[int, str],
    bucket_answer: tuple[int, str],
    error: type[CreativesError],
) -> None:
    scripted.script = lambda _, path, __: object_answer if "photos" in path else bucket_answer
    store = store_at(scripted.endpoint)
    written: list[bytes] = []
    for call in (store.get("photos/1"), store.download("photos/1", written.append)):
        with pytest.raises(error) as caught:
            await call
        assert type(caught.value) is error
        assert_clean(caught.value)
    assert written == []
    store.close()


@pytest.mark.parametrize("key", ["photos/./x", "photos/../x", ""])
async def test_a_name_that_the_client_refuses_is_that_objects_error(scripted: Scripted, key: str) -> None:
    store = store_at(scripted.endpoint)
    with pytest.raises(ObjectRefused, match="its name is invalid"):
        await store.get(key)
    store.close()


async def test_a_truncated_response_is_an_outage(scripted: Scripted) -> None:
    scripted.script = lambda *_: (503, "SlowDown")
    scripted.cut_after = 20
    store = store_at(scripted.endpoint)
    for call in (store.get("k"), store.put("k", b"x", "text/plain"), store.list("k")):
        with pytest.raises(StoreUnavailable, match="does not answer: ParseError") as caught:
            await call
        assert_clean(caught.value)
    store.close()


async def test_a_refused_connection_is_an_outage() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = store_at(f"http://127.0.0.1:{port}")
    for call in (store.check(), store.get("k"), store.put_if_absent("k", b"x", "text/plain")):
        with pytest.raises(StoreUnavailable, match="does not answer: Connection refused") as caught:
            await call
        assert_clean(caught.value)
    store.close()


async def test_a_store_that_never_answers_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = store_at(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(StoreUnavailable, match=r"ReadTimeoutError|timed out"):
            await store.get("k")
        store.close()
