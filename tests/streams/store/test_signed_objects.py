"""Signatures, invalid objects, and writers that replace the same invalid object."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from streams.failures import ObjectRefused, SigningKeyMissing, StoreUnavailable
from streams.settings import StorageSettings
from streams.store.signed_objects import Expected, InvalidObjects, SignedObjects, Signer
from tests import fakes
from tests.fakes import MemoryStore
from tests.streams.store.signing import FOREIGN, HOSTILE, SIGNER

OLD, NEW = b"old-key-" * 4, b"new-key-" * 4


def parse(content: bytes) -> int:
    return int(json.loads(content)["n"])


EXPECTED = Expected("a/n.json", 200, parse)


def content(number: int) -> bytes:
    return json.dumps({"n": number}).encode()


def test_a_signed_object_is_json_with_the_signature_last() -> None:
    signed = SIGNER.sign("a", b'{"n":1}')
    assert SIGNER.verify("a", signed) == b'{"n":1}'
    assert list(json.loads(signed)) == ["n", "signature"]
    assert signed == SIGNER.sign("a", b'{"n":1}')


@pytest.mark.parametrize("index", range(len(SIGNER.sign("a", b'{"n":1}'))))
def test_every_changed_byte_makes_the_signature_invalid(index: int) -> None:
    signed = bytearray(SIGNER.sign("a", b'{"n":1}'))
    signed[index] ^= 1
    with pytest.raises(ValueError, match=r"signed|signature"):
        SIGNER.verify("a", bytes(signed))


def test_a_signature_is_valid_for_its_key_alone() -> None:
    signed = SIGNER.sign("a", b'{"n":1}')
    for key in ("b", "a\0", "", "a/"):
        with pytest.raises(ValueError, match="does not match its key"):
            SIGNER.verify(key, signed)


def test_a_second_field_named_signature_is_no_way_around() -> None:
    signed = SIGNER.sign("a", b'{"n":1}')
    for planted in (signed[:-1] + b',"n":2}', b'{"n":2,' + signed[1:], signed + b" ", b" " + signed):
        with pytest.raises(ValueError, match=r"signed|signature"):
            SIGNER.verify("a", planted)


def test_keys_rotate_without_losing_objects() -> None:
    def signer(keys: str) -> Signer:
        return Signer.from_settings(StorageSettings(signing_keys=SecretStr(keys)))

    old, both, new = (signer(keys) for keys in (OLD.decode(), f"{NEW.decode()} , {OLD.decode()}", NEW.decode()))
    assert both.verify("a", old.sign("a", b'{"n":1}')) == b'{"n":1}'
    assert new.verify("a", both.sign("a", b'{"n":1}')) == b'{"n":1}'
    with pytest.raises(ValueError, match="SIGNING_KEYS"):
        new.verify("a", old.sign("a", b'{"n":1}'))
    assert both.fingerprints == (*new.fingerprints, *old.fingerprints)
    assert all(len(fingerprint) == 8 for fingerprint in both.fingerprints)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(SigningKeyMissing, match="Set CREATIVES_STORAGE__SIGNING_KEYS"):
        Signer.from_settings(StorageSettings())


@pytest.mark.parametrize(
    "planted", [*HOSTILE, content(1), FOREIGN.sign(EXPECTED.key, content(1)), SIGNER.sign("b", content(1))]
)
async def test_an_invalid_object_counts_as_missing_is_reported_once_and_replaced(
    planted: bytes, store: MemoryStore, signed: SignedObjects
) -> None:
    store.objects[EXPECTED.key] = planted
    with capture_logs() as logs:
        assert [await signed.read(EXPECTED) for _ in range(3)] == [None] * 3
    assert [(line["log_level"], line["key"], bool(line["reason"])) for line in logs] == [
        ("warning", EXPECTED.key, True)
    ]
    assert signed.invalid.count == 1
    assert await signed.write_once(EXPECTED, content(7)) == 7
    assert await signed.read(EXPECTED) == 7
    store.objects[EXPECTED.key] = planted
    assert await signed.read(EXPECTED) is None
    assert signed.invalid.count == 2


async def test_an_object_that_the_store_refuses_to_return_counts_as_missing(
    store: MemoryStore, signed: SignedObjects
) -> None:
    """A bucket writer can archive it, or encrypt it with a key of its own. Neither is an outage."""

    def refuse(operation: str, key: str) -> None:
        if operation == "get" and store.objects[key] == b"archived":
            raise ObjectRefused(uri=key, detail="InvalidObjectState")

    store.objects[EXPECTED.key] = b"archived"
    store.fail = refuse
    assert await signed.read(EXPECTED) is None
    assert await signed.write_once(EXPECTED, content(7)) == 7
    assert signed.invalid.count == 1


async def test_a_signed_object_that_is_not_what_it_must_be_counts_as_missing(
    store: MemoryStore, signed: SignedObjects
) -> None:
    store.objects[EXPECTED.key] = SIGNER.sign(EXPECTED.key, b'{"n":"no number"}')
    assert await signed.read(EXPECTED) is None
    assert await signed.write_once(EXPECTED, content(7)) == 7


async def test_no_more_than_the_limit_is_read(store: MemoryStore, signed: SignedObjects) -> None:
    large = json.dumps({"n": 1, "more": "x" * EXPECTED.max_bytes}).encode()
    store.objects[EXPECTED.key] = SIGNER.sign(EXPECTED.key, large)
    with capture_logs() as logs:
        assert await signed.read(EXPECTED) is None
    assert "is larger than 200 bytes" in logs[0]["reason"]


async def test_an_outage_is_not_an_invalid_object(store: MemoryStore, signed: SignedObjects) -> None:
    store.fail = fakes.unavailable
    with pytest.raises(StoreUnavailable):
        await signed.read(EXPECTED)
    assert signed.invalid.count == 0


@pytest.mark.parametrize("bad", [b'{"n":"x"}', b'{"n":1,"more":"' + b"x" * 200 + b'"}'])
async def test_what_readers_would_ignore_is_never_written(
    bad: bytes, store: MemoryStore, signed: SignedObjects
) -> None:
    with pytest.raises(ValueError, match=r"readers accept|invalid literal"):
        await signed.write_once(EXPECTED, bad)
    assert store.objects == {}


@pytest.mark.parametrize("planted", [None, b"garbage"])
async def test_of_many_writers_one_wins_and_all_return_its_value(planted: bytes | None) -> None:
    """Every call of the store yields to the other writers, so their steps interleave."""

    class Yielding(MemoryStore):
        async def _later(self, answer: Awaitable[object]) -> object:
            await asyncio.sleep(0)
            return await answer

        def get(self, key: str, limit: int | None = None) -> Awaitable[bytes | None]:
            return self._later(super().get(key, limit))  # type: ignore[return-value]

        def etag(self, key: str) -> Awaitable[str | None]:
            return self._later(super().etag(key))  # type: ignore[return-value]

    store = Yielding()
    if planted is not None:
        store.objects[EXPECTED.key] = planted
    writers = [SignedObjects(store, SIGNER, InvalidObjects()) for _ in range(8)]
    values = await asyncio.gather(*(each.write_once(EXPECTED, content(n)) for n, each in enumerate(writers)))
    assert len(set(values)) == 1
    assert await writers[0].read(EXPECTED) == values[0]


async def test_an_attacker_who_plants_faster_than_we_replace_stops_nothing(
    store: MemoryStore, signed: SignedObjects
) -> None:
    planted = iter(range(100))

    def plant(operation: str, key: str) -> None:
        if operation in {"put_if_absent", "put_if_match"}:
            store.objects[key] = b"garbage %d" % next(planted)

    store.fail = plant
    assert await signed.write_once(EXPECTED, content(7)) == 7
    assert await signed.read(EXPECTED) == 7


async def test_memory_of_reported_keys_is_bounded() -> None:
    invalid = InvalidObjects()
    for number in range(3000):
        invalid.report(f"k{number}", "r")
    assert invalid.count == 3000
    assert len(invalid._reported) == 1000


def test_a_tag_is_valid_for_its_purpose_and_text_under_any_key() -> None:
    tag = SIGNER.tag("expiry", "text")
    assert SIGNER.has_tag("expiry", "text", tag)
    assert Signer([b"a new key", *SIGNER._keys]).has_tag("expiry", "text", tag)
    assert not FOREIGN.has_tag("expiry", "text", tag)
    assert not any(
        SIGNER.has_tag(*other) for other in [("other", "text", tag), ("expiry", "texts", tag), ("expiry", "text", "")]
    )
