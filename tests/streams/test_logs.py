"""The log: no secrets, and no floods."""

from __future__ import annotations

import io
import logging
import sys
import types
from collections.abc import Iterator

import pytest
import structlog
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import SaslAuthenticateRequest

from streams import logs
from streams.failures import StoreUnavailable
from streams.settings import LogSettings
from tests.streams.store.scripted_server import ACCESS, SECRET, Scripted, scripted, store_at

__all__ = ["scripted"]


@pytest.fixture
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Return the text logged at a level (debug unless parametrized); restore logging afterwards."""
    root, text = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in (*logs._CHATTY, *logs._LEAKY, logs._WIRE)}
    monkeypatch.setattr(sys, "stderr", text)
    logs.configure(LogSettings(level=getattr(request, "param", "debug")))
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


async def test_a_cut_connection_logs_no_signature(written: io.StringIO, scripted: Scripted) -> None:
    def cut(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if method == "PUT":
            raise ConnectionError
        return 404, "NoSuchKey"

    scripted.script = cut
    scripted.server.handle_error = lambda *_: None  # type: ignore[method-assign]
    store = store_at(scripted.endpoint)
    with pytest.raises(StoreUnavailable):
        await store.put_if_absent("k", b"x", "text/plain")
    store.close()
    assert ("PUT", "*") in scripted.seen
    for secret in ("Signature", ACCESS, SECRET):
        assert secret not in written.getvalue()


@pytest.mark.parametrize("written", ["debug", "info"], indirect=True)
async def test_a_sasl_password_is_not_logged(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = AIOKafkaConnection("127.0.0.1", 1)
    monkeypatch.setattr(connection, "_versions", {36: (0, 1)})
    written_bytes: list[bytes] = []
    monkeypatch.setattr(connection, "_writer", types.SimpleNamespace(write=written_bytes.append))
    connection.send(SaslAuthenticateRequest(b"\0user\0hunter2")).close()
    assert b"hunter2" in written_bytes[0]
    assert "hunter2" not in written.getvalue()


async def test_our_own_lines_are_written(written: io.StringIO) -> None:
    structlog.get_logger("streams").info("event failed", offset=3)
    assert "event failed" in written.getvalue()


@pytest.mark.parametrize(("written", "times"), [("info", 1), ("debug", 3)], indirect=["written"])
def test_libraries_repeat_lines_at_debug_level_only(written: io.StringIO, times: int) -> None:
    for _ in range(3):
        logging.getLogger("aiokafka").error("Unable connect to %s", "there")
        structlog.get_logger("streams").info("event failed")
    assert written.getvalue().count("Unable connect to there") == times
    assert written.getvalue().count("event failed") == 3


def test_a_repeated_line_of_a_library_is_written_once_per_pause_with_a_count() -> None:
    now = 100.0
    repeats = logs.RepeatFilter(lambda: now)

    def filtered(name: str, template: str, *words: object) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, template, words, None)
        return record.getMessage() if repeats.filter(record) else None

    template = "Unable connect to %s"
    assert filtered("aiokafka.client", template, "one") == "Unable connect to one"
    for number in range(40):
        now += 0.5
        assert filtered("streams.kafka.lag", "lag unknown") == "lag unknown"  # our own lines all pass
        assert filtered("aiokafka.client", template, number) is None
    crash = logging.LogRecord("aiokafka.client", logging.ERROR, "", 0, template, ("one",), (OSError, OSError(), None))
    assert repeats.filter(crash)
    assert filtered("aiokafka.conn", template, "other") == "Unable connect to other"  # another logger
    now += 30
    assert filtered("aiokafka.client", template, "last") == "Unable connect to last (40 more like it in 50 s)"
    assert filtered("aiokafka.client", template, "last") is None


def test_remembered_templates_are_bounded() -> None:
    repeats = logs.RepeatFilter(lambda: 0.0)
    for number in range(3 * logs._MAX_TEMPLATES):
        assert repeats.filter(logging.LogRecord("faust", logging.ERROR, "", 0, f"line {number}", (), None))
    assert len(repeats._last) <= logs._MAX_TEMPLATES


FORGED = "milk\n2026-11-28T00:00:00Z [error    ] the worker stops reason=x\x1b[2K\u202e"


def test_foreign_text_can_forge_neither_a_line_nor_a_field(written: io.StringIO) -> None:
    log = structlog.get_logger("streams")
    message = f"photo {FORGED}"
    log.info(message, product_id=FORGED, reason="a verdict=done", name="Żółć", place="\u202ex")
    logging.getLogger("aiokafka").warning("bad header %s", FORGED)
    log.error("failed", key='x" y', exc_info=ValueError(FORGED))
    lines = written.getvalue().splitlines()
    assert sum(not line.startswith("    ") for line in lines) == 3  # the lines of a traceback are indented
    assert "\x1b[2K" not in written.getvalue()
    assert "\u202e" not in written.getvalue()
    assert "reason='a verdict=done'" in lines[0]
    assert "name=Żółć" in lines[0]
    assert lines[0].count("\\n2026-11-28T00:00:00Z") == 2


@pytest.mark.parametrize("value", ["s3://creatives/photos/jam/1.png", "segment-updated", "127.0.0.1:9092,[::1]:9092"])
def test_plain_values_are_not_quoted(written: io.StringIO, value: str) -> None:
    structlog.get_logger("streams").info("x", value=value)
    assert f"value={value}" in written.getvalue()
