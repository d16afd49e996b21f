"""Photos over real TLS on loopback, and every attempt to reach a forbidden address."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import CreativesError
from streams.failures import AddressForbidden, ObjectMissing, ObjectTooLarge, PhotoRefused, PhotoUnavailable
from streams.products import photo_hosts
from streams.training_settings import TrainingSettings
from tests.streams.products.photo_host import HOST, Host


async def downloaded(uri: str, allowed: tuple[str, ...], limit: int = 1000) -> bytes:
    settings = TrainingSettings(allowed_hosts=allowed, max_photo_bytes=limit)
    with tempfile.TemporaryDirectory() as folder:
        await photo_hosts.download_from_host(uri, Path(folder) / "photo", settings)
        return (Path(folder) / "photo").read_bytes()


async def test_a_photo_of_an_allowed_host_is_downloaded(host: Host) -> None:
    assert await downloaded(host.url("/photo.png?signature=x"), host.allowed) == b"a photo"
    assert host.asked == [f"{HOST}:{host.port}"]


async def test_a_redirect_to_an_allowed_url_is_followed(host: Host) -> None:
    assert await downloaded(host.url("/moved"), host.allowed) == b"a photo"


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
        await downloaded(uri(host), host.allowed)
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
        await downloaded(host.url("/photo.png"), (f"{HOST}:{host.port}",))
    assert host.asked == []


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert photo_hosts._is_public(address)


async def test_dns_rebinding_gains_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first lookup returns an allowed address; every later one returns a private address."""
    asked = []

    def rebinding(name: str, port: int, **_: Any) -> Any:
        asked.append(name)
        address = "127.0.0.1" if asked.count(HOST) == 1 and name == HOST else "127.0.0.2"
        address = name if name.startswith("127.") else address
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert await downloaded(host.url("/photo.png"), host.allowed) == b"a photo"
    assert asked.count(HOST) == 1, "the client must connect to the checked address without another lookup"
    with pytest.raises(AddressForbidden, match="an address that is not public"):
        await downloaded(host.url("/photo.png"), host.allowed)


async def test_a_redirect_to_an_allowed_name_with_a_private_address_is_forbidden(host: Host) -> None:
    host.names["inside.example"] = "10.1.2.3"
    allowed = (*host.allowed, f"inside.example:{host.port}")
    with pytest.raises(AddressForbidden, match=r"inside\.example.*an address that is not public"):
        await downloaded(host.url("/inside"), allowed)


async def test_the_settings_may_allow_a_private_address(host: Host) -> None:
    assert await downloaded(host.url("/photo.png", "127.0.0.1"), (f"127.0.0.1:{host.port}", "127.0.0.1")) == b"a photo"


async def test_a_photo_above_the_limit_is_an_error(host: Host) -> None:
    with pytest.raises(ObjectTooLarge, match="larger than 6 bytes"):
        await downloaded(host.url("/photo.png"), host.allowed, limit=6)


async def test_a_slow_host_times_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_hosts, "_SECONDS", 0.2)
    with pytest.raises(PhotoUnavailable, match=r"no answer within 0\.2 s"):
        await downloaded(host.url("/slow"), host.allowed)


async def test_an_unknown_name_is_unavailable(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PhotoUnavailable):
        await downloaded(host.url("/photo.png"), host.allowed)


async def test_a_certificate_for_another_name_is_unavailable(host: Host) -> None:
    host.names["other.example"] = "127.0.0.1"
    with pytest.raises(PhotoUnavailable, match="ConnectError"):
        await downloaded(host.url("/photo.png", "other.example"), (f"other.example:{host.port}", "127.0.0.1"))


async def test_a_name_server_that_does_not_answer_holds_no_thread_of_other_events(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, seen = threading.Event(), []

    def stuck(*_: Any, **__: Any) -> Any:
        seen.append(threading.current_thread().name)
        answer.wait(5)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    monkeypatch.setattr(photo_hosts, "_NAME_SECONDS", 0.05)
    try:
        with pytest.raises(PhotoUnavailable, match=r"its host's name was not resolved within 0\.05 s"):
            await downloaded(host.url("/photo.png"), host.allowed)
        assert [name.partition("_")[0] for name in seen] == ["photo-host-name"]
    finally:
        answer.set()
