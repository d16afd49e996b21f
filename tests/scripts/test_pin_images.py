"""scripts/pin_images.py, with a registry of this test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.pin_images import FILES, Image, images, pin, registry_digest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4
TEXT = f"""FROM python:3.12-slim AS build
FROM python:3.12-slim@{DIGEST}
    image: quay.io/minio/minio:RELEASE.2025
    image: fluence-creatives:local
"""


def test_every_image_of_the_project_is_found() -> None:
    found = {image.name for name in FILES for image in images((ROOT / name).read_text())}
    assert found == {"python", "apache/kafka", "quay.io/minio/minio", "chrislusf/seaweedfs"}


def test_each_image_gets_the_digest_of_its_own_tag() -> None:
    new = "sha256:" + "f" * 64
    pinned = pin(TEXT, lambda _: new)
    assert pinned.splitlines() == [
        f"FROM python:3.12-slim@{new} AS build",
        f"FROM python:3.12-slim@{new}",
        f"    image: quay.io/minio/minio:RELEASE.2025@{new}",
        "    image: fluence-creatives:local",
    ]
    assert [image.digest for image in images(TEXT)] == [None, DIGEST, None]
    assert all(image.digest == new for image in images(pinned))


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("python", ("registry-1.docker.io", "library/python")),
        ("apache/kafka", ("registry-1.docker.io", "apache/kafka")),
        ("quay.io/minio/minio", ("quay.io", "minio/minio")),
        ("localhost:5000/x", ("localhost:5000", "x")),
    ],
)
def test_the_registry_of_a_name(name: str, address: tuple[str, str]) -> None:
    assert Image(name, "1", None).address == address


class Registry(BaseHTTPRequestHandler):
    """A registry that wants a token, and gives one."""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") == "Bearer ticket":
            assert self.path == "/v2/kafka/manifests/4.1.0"
            assert "oci.image.index" in self.headers["Accept"]
            self._answer(200, ("Docker-Content-Digest", DIGEST))
            return
        realm = f"http://{self.headers['Host']}/token"
        challenge = f'Bearer realm="{realm}",service="registry",scope="repository:kafka:pull"'
        self._answer(401, ("WWW-Authenticate", challenge))

    def do_GET(self) -> None:
        assert self.path == "/token?service=registry&scope=repository%3Akafka%3Apull"
        self._answer(200, ("Content-Type", "application/json"), b'{"token": "ticket"}')

    def _answer(self, status: int, header: tuple[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_registry_is_asked_with_a_token(registry: str) -> None:
    assert registry_digest(Image(f"{registry}/kafka", "4.1.0", None), "http") == DIGEST
