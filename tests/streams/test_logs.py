"""What a log may not show."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from streams import logs
from streams.failures import StoreUnavailable
from streams.settings import LogSettings
from tests.streams.store.scripted_server import ACCESS, SECRET, Scripted, scripted, store_at

__all__ = ["scripted"]


@pytest.fixture
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Return what is logged at a level, the most talkative unless told; puts logging back as it was."""
    root, text = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in (*logs._TALKATIVE, *logs._INDISCREET)}
    monkeypatch.setattr(sys, "stderr", text)
    logs.configure(LogSettings(level=getattr(request, "param", "debug")))
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, kept in levels.items():
        logging.getLogger(name).setLevel(kept)
    structlog.reset_defaults()


async def test_a_connection_cut_in_a_signed_request_shows_no_signature(
    written: io.StringIO, scripted: Scripted
) -> None:
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


async def test_our_own_lines_are_written(written: io.StringIO) -> None:
    structlog.get_logger("streams").info("event failed", offset=3)
    assert "event failed" in written.getvalue()


@pytest.mark.parametrize(("written", "times"), [("info", 1), ("debug", 3)], indirect=["written"])
def test_libraries_repeat_themselves_at_debug_level_only(written: io.StringIO, times: int) -> None:
    for _ in range(3):
        logging.getLogger("aiokafka").error("Unable connect to %s", "there")
        structlog.get_logger("streams").info("event failed")
    assert written.getvalue().count("Unable connect to there") == times
    assert written.getvalue().count("event failed") == 3


def test_a_library_says_a_thing_once_in_a_while_and_how_often_it_would_have() -> None:
    now = 100.0
    thinned = logs.Thinned(lambda: now)

    def said(name: str, form: str, *words: object) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, form, words, None)
        return record.getMessage() if thinned.filter(record) else None

    form = "Unable connect to %s"
    assert said("aiokafka.client", form, "one") == "Unable connect to one"
    for number in range(40):
        now += 0.5
        assert said("streams.kafka.lag", "lag unknown") == "lag unknown"  # ours all pass
        assert said("aiokafka.client", form, number) is None
    crash = logging.LogRecord("aiokafka.client", logging.ERROR, "", 0, form, ("one",), (OSError, OSError(), None))
    assert thinned.filter(crash)
    assert said("aiokafka.conn", form, "other") == "Unable connect to other"  # another library's part
    now += 30
    assert said("aiokafka.client", form, "last") == "Unable connect to last (40 more like it in 50 s)"
    assert said("aiokafka.client", form, "last") is None


def test_what_is_remembered_of_lines_is_bounded() -> None:
    thinned = logs.Thinned(lambda: 0.0)
    for number in range(3 * logs._MOST_FORMS):
        assert thinned.filter(logging.LogRecord("faust", logging.ERROR, "", 0, f"line {number}", (), None))
    assert len(thinned._said) <= logs._MOST_FORMS
