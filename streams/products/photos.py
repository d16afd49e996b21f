"""Product photos from where an event says they are, and from nowhere else.

`s3://`: our own bucket, below `photos/`. `https://`: hosts that the settings allow, at public addresses. Every redirect
is held to the same rules, and the address that was checked is the address that is connected to, so a name that
changes its address in between (DNS rebinding) gains nothing.
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

from streams.failures import AddressForbidden, ObjectMissing, ObjectTooLarge, PhotosUnavailable, StreamError
from streams.store.protocol import ObjectStore
from streams.training_settings import TrainingSettings

log = structlog.get_logger(__name__)

PHOTOS = "photos/"
_REDIRECTS = 3
_AT_ONCE = 4
_SECONDS = 60.0
# Addresses behind which any IPv4 address may hide, a private one too: NAT64, 6to4, and IPv4-compatible ones.
_TUNNELS = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries at a host that is away


@dataclass(frozen=True)
class Fetched:
    """The photos that could be had, in order, and why each of the others could not."""

    photos: tuple[bytes, ...] = field(repr=False)
    refused: tuple[StreamError, ...]


async def fetch_photos(uris: Sequence[str], store: ObjectStore, settings: TrainingSettings) -> Fetched:
    """Fetch what can be had of the photos; a host that is away is waited for, `settings.photo_timeout` seconds.

    A photo is refused with AddressForbidden, ObjectMissing, ObjectTooLarge, or PhotosUnavailable once the patience is
    over. Raises what the store raises.
    """
    turn = asyncio.Semaphore(_AT_ONCE)
    tasks = [asyncio.create_task(_one(uri, turn, store, settings)) for uri in uris]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    photos = tuple(photo for photo in found if isinstance(photo, bytes))
    return Fetched(photos, tuple(refusal for refusal in found if isinstance(refusal, StreamError)))


async def _one(
    uri: str, turn: asyncio.Semaphore, store: ObjectStore, settings: TrainingSettings
) -> bytes | StreamError:
    loop, pauses = asyncio.get_running_loop(), 0
    until = loop.time() + settings.photo_timeout
    while True:
        try:
            async with turn:
                if uri.startswith("s3://"):
                    return await _from_store(uri, store, settings.max_photo_bytes)
                return await _from_host(uri, settings)
        except (AddressForbidden, ObjectMissing, ObjectTooLarge) as refusal:
            return refusal
        except PhotosUnavailable as away:
            pause = min(_LONGEST_PAUSE, _PAUSE * 2.0**pauses) * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
            if loop.time() + pause > until:
                return away
            log.warning("photo cannot be fetched yet", reason=str(away))
            pauses += 1
            await asyncio.sleep(pause)


async def _from_store(uri: str, store: ObjectStore, limit: int) -> bytes:
    key = uri.removeprefix(store.uri(""))
    if key == uri or not key.startswith(PHOTOS) or ".." in key or "//" in key:
        raise AddressForbidden(uri=_shown(uri), detail=f"photos are read below {store.uri(PHOTOS)} only.")
    content = await store.get(key, limit)
    if content is None:
        raise ObjectMissing(uri=_shown(uri))
    return content


async def _from_host(uri: str, settings: TrainingSettings) -> bytes:
    try:
        async with asyncio.timeout(_SECONDS), _client() as client:
            return await _followed(uri, client, settings)
    except (ValueError, httpx.InvalidURL):
        raise AddressForbidden(uri=_shown(uri), detail="it is no valid URL.") from None
    except TimeoutError:
        raise PhotosUnavailable(uri=_shown(uri), detail=f"no answer within {_SECONDS:g} s") from None
    except (httpx.HTTPError, OSError) as error:
        raise PhotosUnavailable(uri=_shown(uri), detail=type(error).__name__) from None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=15.0)


async def _followed(uri: str, client: httpx.AsyncClient, settings: TrainingSettings) -> bytes:
    for _ in range(_REDIRECTS + 1):
        request = await _request(uri, client, settings)
        response = await client.send(request, stream=True)
        try:
            if not response.is_redirect:
                return await _body(uri, response, settings.max_photo_bytes)
            uri = urljoin(uri, response.headers.get("location", ""))
        finally:
            await response.aclose()
    raise AddressForbidden(uri=_shown(uri), detail=f"more than {_REDIRECTS} redirects.")


async def _request(uri: str, client: httpx.AsyncClient, settings: TrainingSettings) -> httpx.Request:
    """Return a request to the checked address itself, with the host's name where TLS and HTTP want it."""
    parts = urlsplit(uri)
    host = _allowed(uri, parts, settings.allowed_hosts)
    address = await _address(uri, host, parts.port or 443, settings.allowed_hosts)
    literal = f"[{address}]" if ":" in address else address
    target = parts._replace(netloc=f"{literal}:{parts.port or 443}", fragment="").geturl()
    return client.build_request("GET", target, headers={"Host": parts.netloc}, extensions={"sni_hostname": host})


def _allowed(uri: str, parts: SplitResult, hosts: Sequence[str]) -> str:
    """Return the host where the settings allow this URL. Raises AddressForbidden."""
    host = (parts.hostname or "").rstrip(".").lower()
    named = f"{host}:{parts.port}" if parts.port not in {None, 443} else host
    if parts.scheme != "https":
        raise AddressForbidden(uri=_shown(uri), detail="photos are fetched by https only.")
    if parts.username is not None or parts.password is not None:
        raise AddressForbidden(uri=_shown(uri), detail="a URL must not hold a user or password.")
    if named not in {allowed.lower() for allowed in hosts}:
        raise AddressForbidden(uri=_shown(uri), detail="CREATIVES_TRAINING__ALLOWED_HOSTS does not name its host.")
    return host


async def _address(uri: str, host: str, port: int, hosts: Sequence[str]) -> str:
    """Return one address of the host, where all of them are public or allowed by themselves."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not _public(address) and address not in hosts:
            raise AddressForbidden(uri=_shown(uri), detail="its host has an address that is not public.")
    return addresses[0]


def _public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.is_site_local or any(parsed in network for network in _TUNNELS):
            return False
        parsed = parsed.ipv4_mapped or parsed
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


async def _body(uri: str, response: httpx.Response, limit: int) -> bytes:
    if response.status_code in {401, 403, 404, 410}:
        raise ObjectMissing(uri=_shown(uri))
    if response.status_code != 200:
        raise PhotosUnavailable(uri=_shown(uri), detail=f"HTTP status {response.status_code}")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > limit:
            raise ObjectTooLarge(uri=_shown(uri), limit=limit)
    return bytes(content)


def _shown(uri: str) -> str:
    """Return a URI for a message, without its query: that may hold a signature."""
    return uri.partition("?")[0][:200]
