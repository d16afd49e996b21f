"""Which errors of an S3 store count as an outage, and which as a refusal. No error shows a secret."""

from __future__ import annotations

import socket

import pytest

from models.errors import CreativesError
from streams.failures import StoreRefused, StoreUnavailable
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
