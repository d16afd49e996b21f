"""An S3 server whose answers a test scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from streams.settings import StorageSettings
from streams.store.s3 import MinioStore

SECRET = "s3cret-Of-Ours"
ACCESS = "AKIAOURS"


def store_at(endpoint: str, **changes: Any) -> MinioStore:
    settings = {"endpoint": endpoint, "access_key": ACCESS, "secret_key": SECRET, "timeout": 1.0}
    return MinioStore(StorageSettings.model_validate(settings | changes))


class Scripted:
    """An HTTP server. script: maps (method, path, headers) to (status, S3 error code). seen: its requests."""

    def __init__(self) -> None:
        self.script: Callable[[str, str, dict[str, str]], tuple[int, str]] = lambda *_: (200, "")
        self.seen: list[tuple[str, str | None]] = []
        self.body = b""  # of answers without an error code
        self.cut_after: int | None = None  # number of bytes after which a response body is cut off
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                scripted.seen.append((self.command, self.headers.get("If-None-Match")))
                status, code = scripted.script(self.command, self.path, dict(self.headers))
                body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else scripted.body
                body = body[: scripted.cut_after]
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
    server = Scripted()
    yield server
    server.server.shutdown()
    server.thread.join()
    server.server.server_close()


def assert_clean(error: BaseException) -> None:
    """Check that nothing a log could show contains a credential or a signature."""
    shown = f"{error} {error!r} {error.__cause__!r} {error.__dict__}"
    assert SECRET not in shown
    assert ACCESS not in shown
    assert "Signature=" not in shown
