"""Downloads a photo by https, from hosts that the settings allow, at public addresses.

The same rules apply to every redirect. The worker connects to the address that it checked, so a host cannot switch
to another address after the check (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from models.local_files import partial_file
from streams.failures import (
    AddressForbidden,
    ObjectMissing,
    ObjectTooLarge,
    PhotoRefused,
    PhotoUnavailable,
)
from streams.training_settings import TrainingSettings

_REDIRECTS = 3
_SECONDS = 60.0
_NAME_SECONDS = 15.0
# A name server that does not answer holds a thread. Asyncio's default threads are left to the other events.
_RESOLVERS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="photo-host-name")
_CHUNK = 2**20  # bytes
# Networks that can wrap a private IPv4 address: NAT64, 6to4 with its relays, Teredo, and IPv4-compatible addresses.
_TUNNELS = ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "192.88.99.0/24", "2001::/32", "::/96")
# Special networks that Python counts as public: protocol assignments, Azure's host, documentation, and DNS sinks.
_SPECIAL = ("192.0.0.0/24", "168.63.129.16/32", "3fff::/20", "2620:4f:8000::/48")
_FORBIDDEN = tuple(map(ipaddress.ip_network, (*_TUNNELS, *_SPECIAL)))
_BUSY = frozenset({408, 425, 429})  # the only client errors that a retry can cure


async def download_from_host(uri: str, path: Path, settings: TrainingSettings) -> None:
    """Write the photo at an https address to the file `path`.

    Raises AddressForbidden, ObjectMissing, ObjectTooLarge, PhotoRefused, PhotoUnavailable (a retry may help), or
    ScratchDiskUnusable if the local disk fails.
    """
    try:
        async with asyncio.timeout(_SECONDS), _client() as client:
            await _follow_redirects(uri, path, client, settings)
    except (ValueError, httpx.InvalidURL):
        raise AddressForbidden(uri=without_query(uri), detail="it is no valid URL.") from None
    except TimeoutError:
        raise PhotoUnavailable(uri=without_query(uri), detail=f"no answer within {_SECONDS:g} s") from None
    except (httpx.HTTPError, OSError) as error:
        raise PhotoUnavailable(uri=without_query(uri), detail=type(error).__name__) from None


def without_query(uri: str) -> str:
    """Return a URL for a message. Its query may contain a signature, so it is cut off."""
    return uri.partition("?")[0][:200]


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=15.0)


async def _follow_redirects(uri: str, path: Path, client: httpx.AsyncClient, settings: TrainingSettings) -> None:
    for _ in range(_REDIRECTS + 1):
        request = await _build_request(uri, client, settings)
        response = await client.send(request, stream=True)
        try:
            if not response.is_redirect:
                _check_answer(uri, response)
                await _write_body(uri, response, path, settings.max_photo_bytes)
                return
            uri = urljoin(uri, response.headers.get("location", ""))
        finally:
            await response.aclose()
    raise AddressForbidden(uri=without_query(uri), detail=f"more than {_REDIRECTS} redirects.")


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
        raise AddressForbidden(uri=without_query(uri), detail="photos are fetched by https only.")
    if parts.username is not None or parts.password is not None:
        raise AddressForbidden(uri=without_query(uri), detail="a URL must not hold a user or password.")
    if host_and_port not in {allowed.lower() for allowed in hosts}:
        raise AddressForbidden(
            uri=without_query(uri), detail="CREATIVES_TRAINING__ALLOWED_HOSTS does not name its host."
        )
    return host


async def _checked_address(uri: str, host: str, port: int, hosts: Sequence[str]) -> str:
    """Return one address of the host. Raises AddressForbidden unless each address is public or allowed itself."""
    addresses = await _resolve(uri, host, port)
    for address in addresses:
        if not _is_public(address) and address not in hosts:
            raise AddressForbidden(uri=without_query(uri), detail="its host has an address that is not public.")
    return addresses[0]


async def _resolve(uri: str, host: str, port: int) -> list[str]:
    def look_up() -> list[str]:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

    found = asyncio.get_running_loop().run_in_executor(_RESOLVERS, look_up)
    done, _ = await asyncio.wait({found}, timeout=_NAME_SECONDS)
    if not done:
        found.cancel()
        detail = f"its host's name was not resolved within {_NAME_SECONDS:g} s"
        raise PhotoUnavailable(uri=without_query(uri), detail=detail)
    return await found


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.is_site_local:
            return False
        parsed = parsed.ipv4_mapped or parsed
    if any(parsed in network for network in _FORBIDDEN):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _check_answer(uri: str, response: httpx.Response) -> None:
    if response.status_code in {401, 403, 404, 410}:
        raise ObjectMissing(uri=without_query(uri))
    if 400 <= response.status_code < 500 and response.status_code not in _BUSY:
        raise PhotoRefused(uri=without_query(uri), detail=f"its host answers with HTTP status {response.status_code}")
    if response.status_code != 200:
        raise PhotoUnavailable(uri=without_query(uri), detail=f"HTTP status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise PhotoRefused(uri=without_query(uri), detail="its host sends an encoding that nobody asked for")


async def _write_body(uri: str, response: httpx.Response, path: Path, limit: int) -> None:
    size = 0
    with partial_file(path) as file:
        async for chunk in response.aiter_raw(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise ObjectTooLarge(uri=without_query(uri), limit=limit)
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.commit)
