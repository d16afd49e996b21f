"""References to weights, checked before anything is loaded."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.briefs import StudioPlan
from models.errors import WeightsNotFound
from models.weights import references
from models.weights.references import check_references, may_need_hub


def test_the_demo_and_existing_paths_pass(tmp_path: Path) -> None:
    file = tmp_path / "clip.safetensors"
    file.touch()
    check_references(StudioPlan())
    check_references(
        StudioPlan(diffusion=str(tmp_path), reranking=f"ViT-H-14:{file}", upscaling=str(file), dino=str(tmp_path))
    )
    check_references(StudioPlan(reranking=f"local-dir:{tmp_path}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"diffusion": "/models/no-such"}, "no such path; check its spelling"),
        ({"diffusion": "models/no-such"}, "pin it: models/no-such@<commit>"),
        ({"reranking": "ViT-H-14:/models/no-such.pt"}, "No weights for reranking at ViT-H-14:/models/no-such.pt"),
        ({"reranking": "local-dir:/no/such"}, "no such path"),
        ({"upscaling": "swinir.pth"}, "No weights for upscaling at swinir.pth"),
        ({"dino": "~nobody-here/x"}, "No weights for dino"),
        ({"diffusion": "x" * 5000}, "No weights for diffusion"),
    ],
)
def test_a_missing_path_is_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(WeightsNotFound) as caught:
        check_references(StudioPlan(**change))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600


class Hub(BaseHTTPRequestHandler):
    """A hub with one repository."""

    def do_GET(self) -> None:
        found = self.path == "/api/models/owner/name/revision/abc123"
        body = b'{"id": "owner/name", "siblings": []}' if found else b"{}"
        self.send_response(200 if found else 404)
        if not found:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use(monkeypatch, tmp_path, server.server_port)
    yield
    server.shutdown()
    server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, cache: Path, port: int) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(references, "_in_cache", lambda repository, revision, file: revision == "cached")


@pytest.mark.usefixtures("hub")
def test_the_hub_is_asked_for_a_revision_that_is_not_cached() -> None:
    check_references(StudioPlan(diffusion="owner/name@abc123", upscaling="other/name@cached"))
    with pytest.raises(WeightsNotFound, match="No weights for upscaling at owner/other@abc123: 404"):
        check_references(StudioPlan(diffusion="owner/name@abc123", upscaling="owner/other@abc123:x.pth"))


def test_a_hub_that_refuses_or_never_answers_fails_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(references, "_HUB_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(monkeypatch, tmp_path, silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(WeightsNotFound, match=r"cannot be reached|did not answer within 0\.2 s"):
            check_references(StudioPlan(diffusion="owner/name@abc123", reranking="owner/clip@abc123"))
        assert time.monotonic() - start < 1.5
    with pytest.raises(WeightsNotFound, match="not in the local cache, and the hub"):
        check_references(StudioPlan(diffusion="owner/name@abc123"))


def test_only_a_cached_revision_counts_without_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "x.pth").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert references._in_cache("owner/name", "a" * 40, "x.pth")
    assert not references._in_cache("owner/name", "a" * 40, "y.pth")
    assert not references._in_cache("owner/name", "b" * 40, None)


def test_only_what_is_neither_demo_nor_a_path_may_need_the_hub(tmp_path: Path) -> None:
    local = StudioPlan(diffusion=str(tmp_path), reranking=f"local-dir:{tmp_path}", upscaling="demo")
    assert not may_need_hub(local)
    assert not may_need_hub(replace(local, reranking=f"ViT-B-32:{tmp_path}"))
    for reference in ("owner/name@1234", "x" * 5000):
        assert may_need_hub(replace(local, dino=reference))
