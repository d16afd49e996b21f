"""Serves health, metrics, status and gallery from the worker's main loop. If the loop blocks, the probes fail too.

`/health/live`: 503 if the main loop is blocked; restart the worker. `/health/ready`: 503 with reasons if the worker
cannot work now. `/metrics`: Prometheus. `/status`: JSON for programs. `/gallery`: the latest creatives for people.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import asdict, replace
from typing import Any

import structlog
from aiohttp import web
from jinja2 import Environment, PackageLoader
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from models.errors import CreativesError
from streams.failures import PortTaken
from streams.settings import DEFAULT_WEB_PORT, WebSettings
from streams.web.metrics import StateCollector
from streams.web.state import View, unready_reasons

log = structlog.get_logger(__name__)

_STORE_SECONDS = 3.0  # a store that answers later counts as unavailable
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class WebServer:
    """Serves the worker's pages. Start it before anything else, so readiness can report that the models load."""

    def __init__(self, view: View, settings: WebSettings) -> None:
        self._view = view
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._pages = Environment(loader=PackageLoader("streams.web"), autoescape=True)
        self._registry = CollectorRegistry()
        self._registry.register(StateCollector(view.state))
        self.address = ""

    async def start(self) -> str:
        """Start the server. Return its address.

        Uses a free port if the default one is taken. Raises PortTaken if a configured port is taken.
        """
        app = web.Application()
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        if self._settings.gallery:
            app.router.add_get("/", self._gallery)
            app.router.add_get("/gallery", self._gallery)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        port = await self._listen(self._runner)
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        self.address = f"http://{host}:{port}"
        log.info("serving health, metrics and gallery", address=self.address)
        return self.address

    async def stop(self) -> None:
        """Stop the server."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _listen(self, runner: web.AppRunner) -> int:
        host, configured = self._settings.host, self._settings.port
        port = DEFAULT_WEB_PORT if configured is None else configured
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or configured is not None:
                await self.stop()
                raise PortTaken(host=host, port=port, detail=_reason(error)) from None
            await web.TCPSite(runner, host, 0).start()
            log.warning("the default port is taken, using a free one", taken=port, port=runner.addresses[0][1])
        return int(runner.addresses[0][1])

    async def _live(self, _: web.Request) -> web.Response:
        state = self._view.state()
        alive = state.main_loop_silence < state.stall
        return _json({"live": alive, "main_loop_silence": round(state.main_loop_silence, 3)}, 200 if alive else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = [*unready_reasons(self._view.state()), *await self._store_problems()]
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _store_problems(self) -> list[str]:
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._view.check_store()
        except CreativesError as error:
            return [str(error)]
        except TimeoutError:
            return [f"The object store has not answered for {_STORE_SECONDS:g} s."]
        return []

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, _: web.Request) -> web.Response:
        state = self._view.state()
        # plain dicts: asdict copies a Counter wrongly
        plain = replace(state, outcomes=dict(state.outcomes), dead_letters=dict(state.dead_letters))
        return _json(asdict(plain))

    async def _gallery(self, _: web.Request) -> web.Response:
        page = self._pages.get_template("gallery.html")
        text = page.render(creatives=self._view.latest(), state=self._view.state())
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(content, status=status, headers={"Cache-Control": "no-store"})


def _reason(error: OSError) -> str:
    return error.strerror.split(": ")[-1] if error.strerror else type(error).__name__
