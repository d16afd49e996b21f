"""Photos arrive as private files in order, within the budget of a registration; failures become errors."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from models.errors import ScratchDiskUnusable
from models.photo_files import PhotoFile
from streams.failures import (
    ObjectMissing,
    ObjectRefused,
    PhotoRefused,
    PhotoUnavailable,
    StoreUnavailable,
)
from streams.products import photos
from streams.training_settings import TrainingSettings
from tests import fakes
from tests.fakes import MemoryStore
from tests.streams.products.photo_host import Host


def contents(found: photos.FetchedPhotos) -> list[bytes]:
    return [Path(photo.path).read_bytes() for photo in found.photos]


async def fetched(uris: list[str], folder: Path, store: MemoryStore | None = None, **changes: Any) -> Any:
    settings = TrainingSettings(**({"photo_timeout": 0} | changes))
    return await photos.fetch_photos(uris, folder, store or MemoryStore(), settings)


def store_with(*names: str) -> MemoryStore:
    store = MemoryStore()
    store.objects |= {f"photos/{name}": f"photo {name}".encode() for name in names}
    return store


def uris(*names: str) -> list[str]:
    return [f"s3://creatives/photos/{name}" for name in names]


async def test_a_busy_host_is_retried(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(photos, "_PAUSE", 0.01)
    found = await fetched([host.url("/twice-busy")], tmp_path, allowed_hosts=host.allowed, photo_timeout=10)
    assert contents(found) == [b"a late photo"]
    assert len(host.asked) == 3


async def test_retries_stop_at_the_timeout(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(photos, "_PAUSE", 0.02)
    found = await fetched([host.url("/busy")], tmp_path, allowed_hosts=host.allowed, photo_timeout=0.2)
    assert [str(error) for error in found.errors] == [f"{host.url('/busy')} cannot be fetched: HTTP status 503"]
    assert 2 < len(host.asked) < 20


async def test_photos_keep_their_order_and_failures_become_errors(host: Host, tmp_path: Path) -> None:
    addresses = [*uris("1", "2", "3"), host.url("/busy")]
    found = await fetched(addresses, tmp_path / "photos", store_with("1", "3"), allowed_hosts=host.allowed)
    assert contents(found) == [b"photo 1", b"photo 3"]
    assert [type(refusal) for refusal in found.errors] == [ObjectMissing, PhotoUnavailable]


async def test_only_this_user_reads_the_files_and_no_part_of_one_is_left(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    found = await fetched(
        [*uris("1", "2"), host.url("/photo.png")],
        folder,
        store_with("1"),
        allowed_hosts=host.allowed,
        max_photo_bytes=6,
    )
    assert found.photos == ()
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    [photo] = (await fetched(uris("1"), folder, store_with("1"))).photos
    digest = hashlib.sha256(b"photo 1").hexdigest()
    assert photo == PhotoFile(str(folder / digest), digest)
    assert [path.name for path in folder.iterdir()] == [digest]


async def test_photos_beyond_the_budget_of_a_registration_are_left_out(tmp_path: Path) -> None:
    """Whatever arrives first, the first photos of the event count, and equal ones count once."""
    store = MemoryStore()
    store.objects |= {f"photos/{name}": name.encode() * 100 for name in "abc"} | {"photos/same": b"a" * 100}
    found = await fetched(uris("a", "same", "b", "c"), tmp_path, store, max_total_photo_bytes=299)
    assert [content[:1] for content in contents(found)] == [b"a", b"a", b"b"]
    assert [type(error) for error in found.errors] == [PhotoRefused]
    assert "photos/c cannot be fetched" in str(found.errors[0])
    assert "larger than the 299 bytes of a registration" in str(found.errors[0])


async def test_a_final_answer_of_the_host_is_not_retried(host: Host, tmp_path: Path) -> None:
    found = await fetched([host.url("/bad")], tmp_path, allowed_hosts=host.allowed, photo_timeout=60)
    assert [type(error) for error in found.errors] == [PhotoRefused]
    assert len(host.asked) == 1


async def test_an_address_that_is_named_twice_is_fetched_once(host: Host, tmp_path: Path) -> None:
    found = await fetched([host.url("/photo.png")] * 30, tmp_path, allowed_hosts=host.allowed)
    assert contents(found) == [b"a photo"]
    assert len(host.asked) == 1


async def test_an_object_that_the_store_refuses_is_that_photos_error(tmp_path: Path) -> None:
    store = store_with("1", "2", "3")

    def refuse(_: str, key: str) -> None:
        if key.endswith("2"):
            raise ObjectRefused(uri=store.uri(key), detail="InvalidObjectState")

    store.fail = refuse
    found = await fetched(uris("1", "2", "3"), tmp_path, store)
    assert contents(found) == [b"photo 1", b"photo 3"]
    assert "s3://creatives/photos/2, though it returns others: InvalidObjectState" in str(found.errors[0])


async def test_an_outage_of_the_store_cancels_the_other_downloads(host: Host, tmp_path: Path) -> None:
    store = MemoryStore()
    store.fail = fakes.unavailable
    before = asyncio.all_tasks()
    with pytest.raises(StoreUnavailable):
        await fetched([host.url("/busy"), *uris("1")], tmp_path, store, allowed_hosts=host.allowed, photo_timeout=600)
    await asyncio.sleep(0.05)
    assert not [task for task in asyncio.all_tasks() - before if "_fetch_in_time" in repr(task)]


async def test_a_disk_that_fails_is_an_outage_of_the_disk(host: Host, tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("no folder")
    with pytest.raises(ScratchDiskUnusable, match="Not a directory"):
        await fetched([host.url("/photo.png")], tmp_path / "photos", allowed_hosts=host.allowed)


async def test_hanging_hosts_hold_a_registration_no_longer_than_the_timeout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Photos that wait for a slot count too. Each attempt of this host ends after 0.05 s; one after another: 0.4 s."""

    async def hang(uri: str, *_: Any) -> None:
        await asyncio.sleep(0.05)
        raise PhotoUnavailable(uri=uri, detail="no answer")

    monkeypatch.setattr(photos, "download_from_host", hang)
    monkeypatch.setattr(photos, "_LEAST_SECONDS", 0.1)
    monkeypatch.setattr(photos, "_PAUSE", 0.01)
    started = asyncio.get_running_loop().time()
    found = await fetched([f"https://host/{number}?key=x" for number in range(30)], tmp_path, photo_timeout=0.1)
    assert asyncio.get_running_loop().time() - started < 0.3
    assert len(found.errors) == 30
    assert str(found.errors[-1]) == (
        "https://host/29 cannot be fetched: the photos of this registration did not arrive within 0.1 s"
    )
