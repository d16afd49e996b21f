"""Fetches the product photos that an event names, from permitted places only.

`s3://`: the worker's own bucket, below `photos/`. `https://`: hosts that the settings allow, at public addresses.
The same rules apply to every redirect. The worker connects to the address that it checked, so a host cannot switch
to another address after the check (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx
import structlog

from streams.failures import (
    AddressForbidden,
    ObjectMissing,
    ObjectTooLarge,
    PhotoRefused,
    PhotoUnavailable,
    StreamError,
)
from streams.store.protocol import ObjectStore
from streams.training_settings import TrainingSettings

log = structlog.get_logger(__name__)

PHOTOS = "photos/"
_REDIRECTS = 3
_PARALLEL = 4
_SECONDS = 60.0
# Networks that can wrap a private IPv4 address: NAT64, 6to4 with its relays, Teredo, and IPv4-compatible addresses.
_TUNNELS = ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "192.88.99.0/24", "2001::/32", "::/96")
# Special networks that Python counts as public: protocol assignments, Azure's host, documentation, and DNS sinks.
_SPECIAL = ("192.0.0.0/24", "168.63.129.16/32", "3fff::/20", "2620:4f:8000::/48")
_FORBIDDEN = tuple(map(ipaddress.ip_network, (*_TUNNELS, *_SPECIAL)))
_BUSY = frozenset({408, 425, 429})  # the only client errors that a retry can cure
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts at an unreachable host


@dataclass(frozen=True)
class FetchedPhotos:
    """The fetched photos in order, and one error for each photo that failed."""

    photos: tuple[bytes, ...] = field(repr=False)
    errors: tuple[StreamError, ...]


async def fetch_photos(uris: Sequence[str], store: ObjectStore, settings: TrainingSettings) -> FetchedPhotos:
    """Fetch every photo. Retry an unreachable host for `settings.photo_timeout` seconds.

    An address that is named twice is fetched once. The result holds an AddressForbidden, ObjectMissing, ObjectTooLarge,
    PhotoRefused or (after the timeout) PhotoUnavailable for each failed photo. Raises the errors of the store.
    """
    slots = asyncio.Semaphore(_PARALLEL)
    tasks = [asyncio.create_task(_fetch_one(uri, slots, store, settings)) for uri in dict.fromkeys(uris)]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    photos = tuple(photo for photo in results if isinstance(photo, bytes))
    return FetchedPhotos(photos, tuple(error for error in results if isinstance(error, StreamError)))


async def _fetch_one(
    uri: str, slots: asyncio.Semaphore, store: ObjectStore, settings: TrainingSettings
) -> bytes | StreamError:
    loop, pauses = asyncio.get_running_loop(), 0
    deadline = loop.time() + settings.photo_timeout
    while True:
        try:
            async with slots:
                if uri.startswith("s3://"):
                    return await _fetch_from_store(uri, store, settings.max_photo_bytes)
                return await _fetch_from_host(uri, settings)
        except (AddressForbidden, ObjectMissing, ObjectTooLarge, PhotoRefused) as error:
            return error
        except PhotoUnavailable as error:
            pause = min(_LONGEST_PAUSE, _PAUSE * 2.0**pauses) * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
            if loop.time() + pause > deadline:
                return error
            log.warning("cannot fetch a photo yet, retrying", reason=str(error))
            pauses += 1
            await asyncio.sleep(pause)


async def _fetch_from_store(uri: str, store: ObjectStore, limit: int) -> bytes:
    key = uri.removeprefix(store.uri(""))
    if key == uri or not key.startswith(PHOTOS) or ".." in key or "//" in key:
        raise AddressForbidden(uri=_without_query(uri), detail=f"photos are read below {store.uri(PHOTOS)} only.")
    content = await store.get(key, limit)
    if content is None:
        raise ObjectMissing(uri=_without_query(uri))
    return content


async def _fetch_from_host(uri: str, settings: TrainingSettings) -> bytes:
    try:
        async with asyncio.timeout(_SECONDS), _client() as client:
            return await _follow_redirects(uri, client, settings)
    except (ValueError, httpx.InvalidURL):
        raise AddressForbidden(uri=_without_query(uri), detail="it is no valid URL.") from None
    except TimeoutError:
        raise PhotoUnavailable(uri=_without_query(uri), detail=f"no answer within {_SECONDS:g} s") from None
    except (httpx.HTTPError, OSError) as error:
        raise PhotoUnavailable(uri=_without_query(uri), detail=type(error).__name__) from None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=15.0)


async def _follow_redirects(uri: str, client: httpx.AsyncClient, settings: TrainingSettings) -> bytes:
    for _ in range(_REDIRECTS + 1):
        request = await _build_request(uri, client, settings)
        response = await client.send(request, stream=True)
        try:
            if not response.is_redirect:
                return await _read_body(uri, response, settings.max_photo_bytes)
            uri = urljoin(uri, response.headers.get("location", ""))
        finally:
            await response.aclose()
    raise AddressForbidden(uri=_without_query(uri), detail=f"more than {_REDIRECTS} redirects.")


async def _build_request(uri: str, client: httpx.AsyncClient, settings: TrainingSettings) -> httpx.Request:
    """Return a request to the checked address. TLS SNI and the Host header carry the host name."""
    parts = urlsplit(uri)
    host = _allowed_host(uri, parts, settings.allowed_hosts)
    address = await _checked_address(uri, host, parts.port or 443, settings.allowed_hosts)
    literal = f"[{address}]" if ":" in address else address
    target = parts._replace(netloc=f"{literal}:{parts.port or 443}", fragment="").geturl()
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity"}  # an encoding could inflate to any size
    return client.build_request("GET", target, headers=headers, extensions={"sni_hostname": host})


def _allowed_host(uri: str, parts: SplitResult, hosts: Sequence[str]) -> str:
    """Return the URL's host. Raises AddressForbidden unless the settings allow the URL."""
    host = (parts.hostname or "").rstrip(".").lower()
    host_and_port = f"{host}:{parts.port}" if parts.port not in {None, 443} else host
    if parts.scheme != "https":
        raise AddressForbidden(uri=_without_query(uri), detail="photos are fetched by https only.")
    if parts.username is not None or parts.password is not None:
        raise AddressForbidden(uri=_without_query(uri), detail="a URL must not hold a user or password.")
    if host_and_port not in {allowed.lower() for allowed in hosts}:
        raise AddressForbidden(
            uri=_without_query(uri), detail="CREATIVES_TRAINING__ALLOWED_HOSTS does not name its host."
        )
    return host


async def _checked_address(uri: str, host: str, port: int, hosts: Sequence[str]) -> str:
    """Return one address of the host. Raises AddressForbidden unless each address is public or allowed itself."""
    resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in resolved]
    for address in addresses:
        if not _is_public(address) and address not in hosts:
            raise AddressForbidden(uri=_without_query(uri), detail="its host has an address that is not public.")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.is_site_local:
            return False
        parsed = parsed.ipv4_mapped or parsed
    if any(parsed in network for network in _FORBIDDEN):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


async def _read_body(uri: str, response: httpx.Response, limit: int) -> bytes:
    if response.status_code in {401, 403, 404, 410}:
        raise ObjectMissing(uri=_without_query(uri))
    if 400 <= response.status_code < 500 and response.status_code not in _BUSY:
        raise PhotoRefused(uri=_without_query(uri), detail=f"its host answers with HTTP status {response.status_code}")
    if response.status_code != 200:
        raise PhotoUnavailable(uri=_without_query(uri), detail=f"HTTP status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise PhotoRefused(uri=_without_query(uri), detail="its host sends an encoding that nobody asked for")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit:
            raise ObjectTooLarge(uri=_without_query(uri), limit=limit)
    return bytes(content)


def _without_query(uri: str) -> str:
    """Return a URI for a message. Its query may contain a signature, so it is cut off."""
    return uri.partition("?")[0][:200]
