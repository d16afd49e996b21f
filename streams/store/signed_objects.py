"""Signed objects: small JSON objects that only workers of this deployment write.

Whoever may write to the bucket can put an object at any key. Manifests, concept pointers and parked segments therefore
carry a signature, and one without a valid signature counts as missing. A signed object stays JSON: `signature` is its
last field. The signature is HMAC-SHA256 (RFC 2104) over the object's key and all bytes before that field, so a copy
under another key is not valid. Nothing is parsed before the signature is verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from pydantic import ValidationError

from streams.failures import ObjectRefused, ObjectTooLarge, SigningKeyMissing
from streams.settings import StorageSettings
from streams.store.protocol import ObjectStore

log = structlog.get_logger(__name__)

T = TypeVar("T")

_JSON = "application/json"
_DOMAIN = b"creatives signed object 1\0"  # keeps these signatures apart from any other use of the keys
_TAG_DOMAIN = b"creatives tag 1\0"
_FINGERPRINT = b"creatives signing key 1"
_OPENING, _DIGITS, _CLOSING = b',"signature":"', 64, b'"}'
_SUFFIX = len(_OPENING) + _DIGITS + len(_CLOSING)
_ROUNDS = 5  # attempts at a write while other writers change the object
_REMEMBERED = 1000  # keys of reported objects


class Signer:
    """Signs with the first key and verifies with any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    @classmethod
    def from_settings(cls, storage: StorageSettings) -> Signer:
        """Return the deployment's signer. Raises SigningKeyMissing if no key is set."""
        if storage.signing_keys is None:
            raise SigningKeyMissing
        return cls([key.strip().encode() for key in storage.signing_keys.get_secret_value().split(",")])

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Eight digits per key. They show people whether two workers have the same keys."""
        return tuple(hmac.digest(key, _FINGERPRINT, hashlib.sha256).hex()[:8] for key in self._keys)

    def sign(self, key: str, content: bytes) -> bytes:
        """Return `content`, a JSON object with at least one field, with its signature. key: of the object."""
        body = content.removesuffix(b"}")
        return body + _OPENING + _signature(self._keys[0], key, body) + _CLOSING

    def verify(self, key: str, signed: bytes) -> bytes:
        """Return the content that was signed. Raises ValueError if the signature is not valid for this key."""
        body, suffix = signed[:-_SUFFIX], signed[-_SUFFIX:]
        if len(suffix) < _SUFFIX or not suffix.startswith(_OPENING) or not suffix.endswith(_CLOSING):
            raise ValueError("it is not signed")
        found = suffix[len(_OPENING) : -len(_CLOSING)]
        if not any(hmac.compare_digest(_signature(each, key, body), found) for each in self._keys):
            raise ValueError("its signature does not match its key and CREATIVES_STORAGE__SIGNING_KEYS")
        return body + b"}"

    def tag(self, purpose: str, text: str) -> str:
        """Return 64 hex digits that show that this deployment wrote `text`. purpose: keeps apart what tags are for."""
        return _tag(self._keys[0], purpose, text)

    def has_tag(self, purpose: str, text: str, tag: str) -> bool:
        """Return whether `tag` is that of the text under any of the keys."""
        return any(hmac.compare_digest(_tag(each, purpose, text).encode(), tag.encode()) for each in self._keys)


def _tag(secret: bytes, purpose: str, text: str) -> str:
    return hmac.digest(secret, _TAG_DOMAIN + purpose.encode() + b"\0" + text.encode(), hashlib.sha256).hex()


def _signature(secret: bytes, key: str, body: bytes) -> bytes:
    return hmac.digest(secret, _DOMAIN + key.encode() + b"\0" + body, hashlib.sha256).hex().encode()


@dataclass
class InvalidObjects:
    """Counts and logs objects that are not what their key promises, each key once. count: since the start."""

    count: int = 0
    _reported: dict[str, None] = field(default_factory=dict)

    def report(self, key: str, reason: str) -> None:
        """Count and log the object unless it was reported before."""
        if key in self._reported:
            return
        self.count += 1
        self._reported[key] = None
        if len(self._reported) > _REMEMBERED:
            del self._reported[next(iter(self._reported))]
        log.warning("ignoring an invalid object", key=key, reason=reason)

    def forget(self, key: str) -> None:
        """Report the key again if it becomes invalid again."""
        self._reported.pop(key, None)


@dataclass(frozen=True)
class Expected(Generic[T]):
    """What a signed object must be. parse: returns the value of its content, or raises ValueError."""

    key: str
    max_bytes: int
    parse: Callable[[bytes], T]


class SignedObjects:
    """The signed objects of a store. An invalid one is reported and counts as missing."""

    def __init__(self, store: ObjectStore, signer: Signer, invalid: InvalidObjects) -> None:
        self.store = store
        self.invalid = invalid
        self.signer = signer

    def read(self, expected: Expected[T]) -> Awaitable[T | None]:
        """Return the object's value, or None if it is missing or invalid. Starts when called, as `get` does."""
        answer = asyncio.ensure_future(self.store.get(expected.key, expected.max_bytes))
        checked = self._value(expected, answer)
        value = asyncio.ensure_future(checked)
        value.add_done_callback(lambda _: answer.cancel())  # does nothing unless `value` was cancelled
        return value

    async def write(self, expected: Expected[T], content: bytes) -> None:
        """Write the object and replace any earlier one."""
        await self.store.put(expected.key, self._signed(expected, content), _JSON)
        self.invalid.forget(expected.key)

    async def write_once(self, expected: Expected[T], content: bytes) -> T:
        """Write the object unless a valid one exists. Return the value of the one that exists afterwards.

        An invalid object is replaced only if its ETag is still the one from before it was read. So of several writers
        one succeeds, and the others return what it wrote.
        """
        ours, signed = expected.parse(content), self._signed(expected, content)
        for _ in range(_ROUNDS):
            if await self.store.put_if_absent(expected.key, signed, _JSON):
                return ours
            etag = await self.store.etag(expected.key)
            existing = await self.read(expected)
            if existing is not None:
                return existing
            if etag is not None and await self.store.put_if_match(expected.key, signed, _JSON, etag):
                self.invalid.forget(expected.key)
                return ours
        await self.write(expected, content)  # somebody plants objects faster than we replace them
        return ours

    def _signed(self, expected: Expected[T], content: bytes) -> bytes:
        """Return the signed content. Raises ValueError if it is larger than readers accept."""
        signed = self.signer.sign(expected.key, content)
        if len(signed) > expected.max_bytes:
            raise ValueError(f"{expected.key} has {len(signed)} bytes, and readers accept {expected.max_bytes}")
        return signed

    async def _value(self, expected: Expected[T], answer: Awaitable[bytes | None]) -> T | None:
        try:
            signed = await answer
            return None if signed is None else expected.parse(self.signer.verify(expected.key, signed))
        except ValidationError as error:
            self.invalid.report(expected.key, error.errors(include_input=False)[0]["msg"])
        except (ValueError, ObjectTooLarge, ObjectRefused) as error:
            self.invalid.report(expected.key, str(error))
        return None
