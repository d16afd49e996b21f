"""One address of the web server with its pages, connection limit and access rules."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from streams.failures import PortTaken
from streams.web.access import Access, Handler, add_headers
from streams.web.connections import Connections
from streams.web_settings import WebSettings

log = structlog.get_logger(__name__)

_STOP_SECONDS = 1.0  # to finish the answers that are being sent


@dataclass(frozen=True)
class Address:
    """Where to listen. port: None for `default`, or any free port if that one is taken. variable: sets the port."""

    host: str
    port: int | None
    default: int
    variable: str


class Listener:
    """Serves GET requests at one address. pages: handlers by path."""

    def __init__(self, address: Address, pages: Mapping[str, Handler], settings: WebSettings) -> None:
        self._address = address
        self._pages = pages
        self._access = Access(settings, address.host)
        self._connections = Connections()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen. Return the URL. Raises PortTaken if a configured port is taken."""
        app = web.Application(middlewares=[self._answer])
        app.on_response_prepare.append(add_headers)
        for path, handler in self._pages.items():
            app.router.add_get(path, handler)
        errors = logging.getLogger(__name__)
        errors.addFilter(_is_our_fault)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=errors,
            handle_signals=False,
            handler_cancellation=True,  # a client that is gone must not keep its place in a queue
            shutdown_timeout=_STOP_SECONDS,
            lingering_time=0,
        )
        await self._runner.setup()
        self._server = await self._listen(self._runner)
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        return f"http://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one request, then close its connection."""
        self._connections.request_arrived(request.transport)
        try:
            response = await self._access.check(request, handler)
        except web.HTTPException as refusal:
            refusal.force_close()
            raise
        response.force_close()
        return response

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        address = self._address
        port = address.default if address.port is None else address.port
        assert runner.server is not None
        protocols = self._connections.guard(runner.server)
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(protocols, address.host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or address.port is not None:
                await self.stop()
                raise PortTaken(
                    host=address.host, port=port, detail=_reason(error), variable=address.variable
                ) from None
        server = await loop.create_server(protocols, address.host, 0)
        taken, free = port, server.sockets[0].getsockname()[1]
        log.warning("the default port is taken, using a free one", taken=taken, port=free)
        return server


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Return False for a request that is not HTTP: its sender must not fill the log, and sees the reason."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _reason(error: OSError) -> str:
    return error.strerror.split(": ")[-1] if error.strerror else type(error).__name__
