"""One photo is reached by every spelling of its key that names it alone, and no spelling leads out of `photos/`."""

# ruff: noqa: ASYNC240

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from streams.embedded import EmbeddedStore
from streams.failures import AddressForbidden, ObjectMissing, ObjectRefused, PhotoRefused
from streams.products.photo_keys import download_object
from streams.products.photos import fetch_photos
from streams.settings import StorageSettings
from streams.store.s3 import MinioStore
from streams.training_settings import TrainingSettings
from tests.fakes import MemoryStore

NAMES = [
    "jar 1.jpg", "WhatsApp Image 2026-11-01 at 10.00.00.jpg", "jar(1).jpg", "a+b.jpg", "100%.jpg", "50%25.jpg",
    "słoik dżemu.jpg", "jar..final.jpg", "..jar.jpg", "a//b.jpg", "a?b#c.jpg", "zdję\u202fcie.jpg",
]  # fmt: skip


async def downloaded(written: str, objects: dict[str, bytes], folder: Path) -> bytes:
    store = MemoryStore()
    store.objects |= objects
    await download_object(f"s3://creatives/{written}", folder / "photo", store, 1000)
    return (folder / "photo").read_bytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "spelled",
    [
        lambda key: key,
        quote,
        quote_plus,  # events of MinIO
        lambda key: quote_plus(key, safe="/"),  # events of Amazon S3
        lambda key: unicodedata.normalize("NFD", key),  # macOS
        lambda key: quote(unicodedata.normalize("NFD", key)),
    ],
    ids=["as it is", "percent", "MinIO", "S3", "NFD", "NFD percent"],
)
async def test_a_photo_is_reached_by_the_usual_spellings(name: str, spelled: object, tmp_path: Path) -> None:
    key = f"photos/{name}"
    assert await downloaded(spelled(key), {key: b"a photo"}, tmp_path) == b"a photo"  # type: ignore[operator]


async def test_the_key_as_it_is_wins(tmp_path: Path) -> None:
    objects = {"photos/a+b%20c": b"plain", "photos/a b c": b"form", "photos/a+b c": b"percent"}
    for key, content in objects.items():
        assert await downloaded(key, objects, tmp_path) == content


async def test_a_spelling_that_may_mean_two_objects_is_refused(tmp_path: Path) -> None:
    objects = {"photos/a b c": b"form", "photos/a+b c": b"percent"}
    with pytest.raises(PhotoRefused, match=r"may mean 'photos/a\+b c' or 'photos/a b c'; write the key as it is"):
        await downloaded("photos/a+b%20c", objects, tmp_path)


@pytest.mark.parametrize(
    "written",
    ["parked/x", "photos", "photos/./x", "photos/../parked/x", "photos/a/..", "photos/.", "photos/%2e%2e/parked/x",
     "photos/%2E/x", "photos%2f..%2fparked/x", "/photos/x", "photos2/x", "../creatives/photos/x"],
)  # fmt: skip
async def test_no_spelling_leads_out_of_the_photos(written: str, tmp_path: Path) -> None:
    objects = dict.fromkeys(("parked/x", "x", "photos/x", "photos/../parked/x", "photos/./x"), b"secret")
    with pytest.raises(ObjectMissing if written.startswith("photos/%") else AddressForbidden):
        await downloaded(written, objects, tmp_path)


async def test_a_missing_photo_and_another_bucket(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing, match="There is no object s3://creatives/photos/słoik%201"):
        await downloaded("photos/słoik%201", {}, tmp_path)
    with pytest.raises(AddressForbidden, match="below s3://creatives/photos/ only"):
        await download_object("s3://other/photos/x", tmp_path / "photo", MemoryStore(), 1000)


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedStore]:
    store = EmbeddedStore("creatives")
    yield store
    store.stop()


NEVER_STORED = [
    "./a.jpg", "a/../b.jpg", ".", "", "a/", "a" * 1500, "a" * 300 + ".jpg", "ż" * 200, "zdjęcie-produktu-" * 16 + ".jpg",
    "a\0.jpg", "a\x01.jpg", "a\\b.jpg", "a.jpg?versionId=1", "a.jpg#1", "\uffff.jpg", "%zz", "%00", "%2e%2e/x", "%ff.jpg",
]  # fmt: skip


async def test_no_name_of_an_event_is_an_outage_of_the_store(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """Photos under names that no store can hold are refused, and those under names that people use are fetched."""
    store = MinioStore(StorageSettings(endpoint=embedded.endpoint))
    for name in NAMES:
        await store.put(f"photos/{name}", name.encode(), "image/jpeg")
    uris = [store.uri(f"photos/{name}") for name in (*NEVER_STORED, *NAMES)]
    found = await fetch_photos(uris, tmp_path, store, TrainingSettings())
    assert [Path(photo.path).read_bytes().decode() for photo in found.photos] == NAMES
    assert len(found.errors) == len(NEVER_STORED)
    assert {type(error) for error in found.errors} <= {AddressForbidden, ObjectMissing, ObjectRefused}
    store.close()
