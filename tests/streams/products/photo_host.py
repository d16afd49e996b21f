"""An https server on loopback with a certificate, as a photo host for tests."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.products import photo_hosts

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
    monkeypatch.setattr(
        photo_hosts, "_client", lambda: httpx.AsyncClient(trust_env=False, timeout=2.0, verify=trusting)
    )
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve(found.names.get(host, host), *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield found
    await runner.cleanup()
