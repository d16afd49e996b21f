"""Health, metrics, status and gallery, served by the worker's own loop: a blocked loop does not answer, which is true.

`/health/live`: restart me if this fails. `/health/ready`: 503 with the reasons while work cannot be done.
`/metrics`: Prometheus. `/status`: JSON for programs. `/gallery`: the latest creatives for people.
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
from streams.web.state import View, unready

log = structlog.get_logger(__name__)

_STORE_SECONDS = 3.0  # a store that takes longer to say that it is there is not
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Web:
    """The worker's pages. Start it first: while the models load, `ready` says so."""

    def __init__(self, view: View, settings: WebSettings) -> None:
        self._view = view
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._pages = Environment(loader=PackageLoader("streams.web"), autoescape=True)
        self._registry = CollectorRegistry()
        self._registry.register(StateCollector(view.state))
        self.address = ""

    async def start(self) -> str:
        """Serve; return the address. A taken default port moves to a free one; raises PortTaken for one set by hand."""
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
        """Serve no longer."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _listen(self, runner: web.AppRunner) -> int:
        wanted = self._settings.port
        try:
            await web.TCPSite(runner, self._settings.host, DEFAULT_WEB_PORT if wanted is None else wanted).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or wanted is not None:
                await self.stop()
                port = wanted or DEFAULT_WEB_PORT
                raise PortTaken(host=self._settings.host, port=port, detail=_words(error)) from None
            await web.TCPSite(runner, self._settings.host, 0).start()
            log.warning("port taken, moved to a free one", taken=DEFAULT_WEB_PORT, port=runner.addresses[0][1])
        return int(runner.addresses[0][1])

    async def _live(self, _: web.Request) -> web.Response:
        state = self._view.state()
        alive = state.main_loop_silence < state.stall
        return _json({"live": alive, "silence": round(state.main_loop_silence, 3)}, 200 if alive else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = [*unready(self._view.state()), *await self._store_trouble()]
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _store_trouble(self) -> list[str]:
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
        plain = replace(state, outcomes=dict(state.outcomes), dead_letters=dict(state.dead_letters))
        return _json(asdict(plain))  # of a Counter asdict makes what is no JSON

    async def _gallery(self, _: web.Request) -> web.Response:
        page = self._pages.get_template("gallery.html")
        text = page.render(creatives=self._view.latest(), state=self._view.state())
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(content, status=status, headers={"Cache-Control": "no-store"})


def _words(error: OSError) -> str:
    return error.strerror.split(": ")[-1] if error.strerror else type(error).__name__
