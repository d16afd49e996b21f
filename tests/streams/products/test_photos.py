"""Photos over real TLS on loopback, and every attempt to reach a forbidden address."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from models.errors import CreativesError
from streams.failures import (
    AddressForbidden,
    ObjectMissing,
    ObjectTooLarge,
    PhotoRefused,
    PhotoUnavailable,
    StoreUnavailable,
)
from streams.products import photos
from streams.training_settings import TrainingSettings
from tests import fakes
from tests.fakes import MemoryStore

HOST = "photos.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for HOST and the loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    unlocked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(unlocked + signed.public_bytes(serialization.Encoding.PEM))
    return path


class Host:
    """An https server. names: the address that DNS gives for each name. asked: the Host header of each request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.names = {HOST: "127.0.0.1"}
        self.asked: list[str | None] = []

    def url(self, path: str, host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    @property
    def allowed(self) -> tuple[str, ...]:
        return f"{HOST}:{self.port}", "127.0.0.1"


@pytest.fixture
async def host(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    async def photo(request: web.Request) -> web.StreamResponse:
        found.asked.append(request.headers.get("Host"))
        match request.path:
            case "/photo.png":
                return web.Response(body=b"a photo")
            case "/moved":
                raise web.HTTPFound("/photo.png")
            case "/private":
                raise web.HTTPFound(found.url("/photo.png", "10.1.2.3"))
            case "/inside":
                raise web.HTTPFound(found.url("/photo.png", "inside.example"))
            case "/plain":
                raise web.HTTPFound("http://127.0.0.1/photo.png")
            case "/round":
                raise web.HTTPFound("/round")
            case "/busy":
                return web.Response(status=503)
            case "/twice-busy":
                return web.Response(status=503) if len(found.asked) < 3 else web.Response(body=b"a late photo")
            case "/bad":
                return web.Response(status=400)
            case "/encoded":
                assert request.headers["Accept-Encoding"] == "identity"
                bomb = gzip.compress(gzip.compress(bytes(50_000_000)))
                return web.Response(body=bomb, headers={"Content-Encoding": "gzip, gzip"})
            case "/slow":
                await asyncio.sleep(5)
        return web.Response(status=404)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    app = web.Application()
    app.router.add_get("/{path:.*}", photo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    found = Host(runner.addresses[0][1])
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(photos, "_client", lambda: httpx.AsyncClient(trust_env=False, timeout=2.0, verify=trusting))
    resolve = asyncio.get_running_loop().getaddrinfo

    async def getaddrinfo(host: str, *rest: Any, **more: Any) -> Any:
        return await resolve(found.names.get(host, host), *rest, **more)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    yield found
    await runner.cleanup()


async def fetched(uri: str, allowed: tuple[str, ...], limit: int = 1000, retry_seconds: float = 0) -> bytes:
    settings = TrainingSettings(allowed_hosts=allowed, max_photo_bytes=limit, photo_timeout=retry_seconds)
    found = await photos.fetch_photos([uri], MemoryStore(), settings)
    for refusal in found.errors:
        raise refusal
    [content] = found.photos
    return content


async def test_a_photo_of_an_allowed_host_is_fetched(host: Host) -> None:
    assert await fetched(host.url("/photo.png?signature=x"), host.allowed) == b"a photo"
    assert host.asked == [f"{HOST}:{host.port}"]


async def test_a_redirect_to_an_allowed_url_is_followed(host: Host) -> None:
    assert await fetched(host.url("/moved"), host.allowed) == b"a photo"


REFUSALS: list[tuple[Callable[[Host], str], type[CreativesError], str]] = [
    (lambda host: host.url("/private"), AddressForbidden, "does not name its host"),
    (lambda host: host.url("/plain"), AddressForbidden, "by https only"),
    (lambda host: host.url("/round"), AddressForbidden, "more than 3 redirects"),
    (lambda host: host.url("/nothing"), ObjectMissing, "There is no object"),
    (lambda host: host.url("/busy"), PhotoUnavailable, "HTTP status 503"),
    (lambda host: host.url("/bad"), PhotoRefused, "HTTP status 400"),
    (lambda host: host.url("/encoded"), PhotoRefused, "encoding"),
    (lambda host: host.url("/photo.png", "other.example"), AddressForbidden, "does not name its host"),
    (lambda host: f"https://{HOST}/photo.png", AddressForbidden, "does not name its host"),
    (lambda host: f"https://u:secret@{HOST}:{host.port}/x", AddressForbidden, "must not hold a user or password"),
    (lambda host: f"https://{HOST}:99999/x", AddressForbidden, "no valid URL"),
    (lambda host: "https://[::1/x", AddressForbidden, "no valid URL"),
    (lambda host: "https:///x", AddressForbidden, "does not name its host"),
]


@pytest.mark.parametrize(("uri", "error", "message"), REFUSALS)
async def test_a_forbidden_or_failing_url_is_an_error(
    host: Host, uri: Callable[[Host], str], error: type[CreativesError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        await fetched(uri(host), host.allowed)
    assert "secret" not in str(caught.value) or "u:secret@" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "::1", "::", "fe80::1", "fc00::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "::a9fe:a9fe",
     "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "240.0.0.1", "192.88.99.1",
     "192.0.0.9", "168.63.129.16", "::ffff:168.63.129.16", "3fff::1", "2620:4f:8000::1"],
)  # fmt: skip
async def test_a_name_with_a_private_address_is_forbidden(host: Host, address: str) -> None:
    host.names[HOST] = address
    with pytest.raises(AddressForbidden, match="an address that is not public"):
        await fetched(host.url("/photo.png"), (f"{HOST}:{host.port}",))
    assert host.asked == []


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert photos._is_public(address)


async def test_dns_rebinding_gains_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lookup returns an allowed address; every later one returns a private address."""
    loop, asked = asyncio.get_running_loop(), []

    async def rebinding(name: str, port: int, **_: Any) -> Any:
        asked.append(name)
        address = "127.0.0.1" if asked.count(HOST) == 1 and name == HOST else "127.0.0.2"
        address = name if name.startswith("127.") else address
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(loop, "getaddrinfo", rebinding)
    assert await fetched(host.url("/photo.png"), host.allowed) == b"a photo"
    assert asked.count(HOST) == 1, "the client must connect to the checked address without another lookup"
    with pytest.raises(AddressForbidden, match="an address that is not public"):
        await fetched(host.url("/photo.png"), host.allowed)


async def test_a_redirect_to_an_allowed_name_with_a_private_address_is_forbidden(host: Host) -> None:
    host.names["inside.example"] = "10.1.2.3"
    allowed = (*host.allowed, f"inside.example:{host.port}")
    with pytest.raises(AddressForbidden, match=r"inside\.example.*an address that is not public"):
        await fetched(host.url("/inside"), allowed)


async def test_the_settings_may_allow_a_private_address(host: Host) -> None:
    assert await fetched(host.url("/photo.png", "127.0.0.1"), (f"127.0.0.1:{host.port}", "127.0.0.1")) == b"a photo"


async def test_a_photo_above_the_limit_is_an_error(host: Host) -> None:
    with pytest.raises(ObjectTooLarge, match="larger than 6 bytes"):
        await fetched(host.url("/photo.png"), host.allowed, limit=6)


async def test_a_slow_host_times_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_SECONDS", 0.2)
    with pytest.raises(PhotoUnavailable, match=r"no answer within 0\.2 s"):
        await fetched(host.url("/slow"), host.allowed)


async def test_an_unknown_name_is_unavailable(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(PhotoUnavailable):
        await fetched(host.url("/photo.png"), host.allowed)


async def test_a_certificate_for_another_name_is_unavailable(host: Host) -> None:
    host.names["other.example"] = "127.0.0.1"
    with pytest.raises(PhotoUnavailable, match="ConnectError"):
        await fetched(host.url("/photo.png", "other.example"), (f"other.example:{host.port}", "127.0.0.1"))


async def test_a_busy_host_is_retried(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_PAUSE", 0.01)
    assert await fetched(host.url("/twice-busy"), host.allowed, retry_seconds=10) == b"a late photo"
    assert len(host.asked) == 3


async def test_retries_stop_at_the_timeout(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_PAUSE", 0.02)
    with pytest.raises(PhotoUnavailable, match="HTTP status 503"):
        await fetched(host.url("/busy"), host.allowed, retry_seconds=0.2)
    assert 2 < len(host.asked) < 20


async def test_photos_keep_their_order_and_failures_become_errors(host: Host) -> None:
    settings = TrainingSettings(allowed_hosts=host.allowed, photo_timeout=0)
    store = MemoryStore()
    store.objects |= {"photos/1": b"one", "photos/3": b"three"}
    uris = ["s3://creatives/photos/1", "s3://creatives/photos/2", "s3://creatives/photos/3", host.url("/busy")]
    found = await photos.fetch_photos(uris, store, settings)
    assert found.photos == (b"one", b"three")
    assert [type(refusal) for refusal in found.errors] == [ObjectMissing, PhotoUnavailable]


async def test_a_final_answer_of_the_host_is_not_retried(host: Host) -> None:
    with pytest.raises(PhotoRefused):
        await fetched(host.url("/bad"), host.allowed, retry_seconds=60)
    assert len(host.asked) == 1


async def test_an_address_that_is_named_twice_is_fetched_once(host: Host) -> None:
    settings = TrainingSettings(allowed_hosts=host.allowed, photo_timeout=0)
    found = await photos.fetch_photos([host.url("/photo.png")] * 30, MemoryStore(), settings)
    assert found.photos == (b"a photo",)
    assert len(host.asked) == 1


async def test_an_outage_of_the_store_cancels_the_other_downloads(host: Host) -> None:
    store = MemoryStore()
    store.fail = fakes.unavailable
    settings = TrainingSettings(allowed_hosts=host.allowed, photo_timeout=600)
    before = asyncio.all_tasks()
    with pytest.raises(StoreUnavailable):
        await photos.fetch_photos([host.url("/busy"), "s3://creatives/photos/1"], store, settings)
    await asyncio.sleep(0.05)
    assert not [task for task in asyncio.all_tasks() - before if "_fetch_one" in repr(task)]
