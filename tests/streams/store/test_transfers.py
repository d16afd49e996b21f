"""Cancelled transfers end together with their threads: nothing is stored or written afterwards."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from models.errors import ScratchDiskUnusable
from streams.store.s3 import MinioStore
from tests.streams.store.scripted_server import Scripted, store_at


class Gate:
    """Holds a request in the server until the test opens it. reached: a request waits."""

    def __init__(self, server: Scripted, method: str) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.finished: list[str] = []
        self._method = method
        server.script = self._answer

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if method == self._method and "partNumber" not in path:
            self.reached.set()
            assert self.open.wait(10)
            self.finished.append(path)
        return 200, ""


@pytest.fixture
def store(scripted: Scripted) -> Any:
    opened = store_at(scripted.endpoint, timeout=10.0)
    yield opened
    opened.close()


async def test_a_cancelled_upload_ends_after_its_last_request(
    store: MinioStore, scripted: Scripted, tmp_path: Path
) -> None:
    """A clean-up that follows the cancellation therefore finds the object."""
    gate = Gate(scripted, "PUT")
    (tmp_path / "checkpoint").write_bytes(b"weights")
    upload = asyncio.ensure_future(store.upload("checkpoints/1", tmp_path / "checkpoint", "application/octet-stream"))
    await asyncio.to_thread(gate.reached.wait, 5)
    upload.cancel()
    upload.cancel()
    await asyncio.wait({upload}, timeout=0.02)
    assert not upload.done()
    gate.open.set()
    await asyncio.wait({upload})
    assert upload.cancelled()
    assert len(gate.finished) == 1


async def test_a_cancelled_upload_sends_no_further_part(
    store: MinioStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on, read = threading.Event(), threading.Event(), []

    def put_object(_bucket: str, _key: str, source: Any, size: int, *_: Any, **__: Any) -> None:
        for _ in range(3):
            read.append(source.read(4))
            started.set()
            assert go_on.wait(5)

    monkeypatch.setattr(store._client, "put_object", put_object)
    (tmp_path / "checkpoint").write_bytes(bytes(12))
    upload = asyncio.ensure_future(store.upload("c", tmp_path / "checkpoint", "application/octet-stream"))
    await asyncio.to_thread(started.wait, 5)
    upload.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait({upload})
    await asyncio.to_thread(store._threads.shutdown)
    assert read == [bytes(4)]


async def test_a_cancelled_download_writes_nothing_more(store: MinioStore, scripted: Scripted) -> None:
    gate, chunks = Gate(scripted, "GET"), []
    download = asyncio.ensure_future(store.download("concepts/1", chunks.append))
    await asyncio.to_thread(gate.reached.wait, 5)
    download.cancel()
    await asyncio.sleep(0)
    scripted.body = b"weights"
    gate.open.set()
    await asyncio.wait({download})
    assert download.cancelled()
    await asyncio.to_thread(store._threads.shutdown)
    assert chunks == []


async def test_a_disk_that_cannot_be_read_is_not_taken_for_the_store(store: MinioStore, tmp_path: Path) -> None:
    with pytest.raises(ScratchDiskUnusable, match="Is a directory"):
        await store.upload("a", tmp_path, "application/octet-stream")


async def test_what_a_writer_raises_is_not_taken_for_the_store(store: MinioStore, scripted: Scripted) -> None:
    def write(_: bytes) -> None:
        raise ScratchDiskUnusable(folder="/scratch", detail="No space left on device")

    scripted.body = b"weights"
    with pytest.raises(ScratchDiskUnusable):
        await store.download("a", write)
