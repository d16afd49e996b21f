"""Who may read a page: host names that lead here, and a token.

A page of a foreign site may let its own host name resolve to this machine (DNS rebinding). Browsers then send that name
as `Host`, so requests for an unknown name are refused. Nobody can redirect an IP address that way.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Awaitable, Callable
from secrets import compare_digest
from urllib.parse import urlsplit

from aiohttp import web

from streams.web_settings import WebSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PROBES = frozenset({"/health/live", "/health/ready"})  # need no token: an orchestrator's probes have none
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "creatives",
}


class Access:
    """Checks the host name and the token of every request. bound: the host that the listener is bound to."""

    def __init__(self, settings: WebSettings, bound: str) -> None:
        self._names = {"localhost", bound.lower(), *(name.lower() for name in settings.allowed_hosts)}
        self._token = settings.token.get_secret_value().encode() if settings.token else None

    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the request if it may be answered. Raises HTTPMisdirectedRequest, HTTPUnauthorized."""
        host = request.headers.get("Host", "")
        if host and not self._allows(host):
            raise web.HTTPMisdirectedRequest(
                text="This host name is unknown here. Add it to CREATIVES_WEB__ALLOWED_HOSTS, or use an IP address.\n"
            )
        if self._token and request.path not in PROBES and not compare_digest(_given_token(request), self._token):
            raise web.HTTPUnauthorized(
                text="This page needs CREATIVES_WEB__TOKEN, as a bearer token or as the password.\n",
                headers={"WWW-Authenticate": 'Basic realm="creatives", charset="UTF-8"'},
            )
        return await handler(request)

    def _allows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name.rstrip(".") in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _given_token(request: web.Request) -> bytes:
    """Return the bearer token, or the password of a browser's login; b"" without either."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has, errors too."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
