"""Serves health, metrics, status and gallery from the worker's main loop. If the loop blocks, the probes fail too.

For operators: `/health/live` (503 if the main loop is blocked; restart the worker), `/health/ready` (503 with reasons
if the worker cannot work now), `/metrics` (Prometheus), `/status` (JSON for programs). The gallery is for people and
has an address of its own: whatever happens there, the probes answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from models.errors import CreativesError
from streams.web.gallery import Gallery
from streams.web.listener import Address, Listener
from streams.web.metrics import StateCollector
from streams.web.state import View, unready_reasons
from streams.web_settings import DEFAULT_GALLERY_PORT, DEFAULT_WEB_PORT, WebSettings

log = structlog.get_logger(__name__)

_STORE_SECONDS = 3.0  # a store that answers later counts as unavailable


class WebServer:
    """Serves the worker's pages. Start it before anything else, so readiness can report that the models load.

    address, gallery_address: the URLs, "" before the start. The gallery's stays "" if it is off.
    """

    def __init__(self, view: View, settings: WebSettings) -> None:
        self._view = view
        self._settings = settings
        self._registry = CollectorRegistry()
        self._registry.register(StateCollector(view.state))
        self._store_check: asyncio.Task[list[str]] | None = None
        self._operators = self._operators_listener()
        self._gallery = self._gallery_listener() if settings.gallery else None
        self.address = self.gallery_address = ""

    async def start(self) -> str:
        """Start both listeners. Return the address of the pages for operators.

        Uses a free port if a default one is taken. Raises PortTaken if a configured port is taken.
        """
        self.address = await self._operators.start()
        log.info("serving health, metrics and status", address=self.address)
        if self._gallery is not None:
            try:
                self.gallery_address = await self._gallery.start()
            except BaseException:
                await self._operators.stop()
                raise
            log.info("serving the gallery", address=self.gallery_address)
            self._warn_if_open()
        return self.address

    async def stop(self) -> None:
        """Stop both listeners."""
        if self._store_check is not None:
            self._store_check.cancel()
        if self._gallery is not None:
            await self._gallery.stop()
        await self._operators.stop()

    def _operators_listener(self) -> Listener:
        settings = self._settings
        pages = {
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._metrics,
            "/status": self._status,
        }
        return Listener(Address(settings.host, settings.port, DEFAULT_WEB_PORT, "CREATIVES_WEB__PORT"), pages, settings)

    def _gallery_listener(self) -> Listener:
        settings, gallery = self._settings, Gallery(self._view)
        pages = {"/": gallery.page, "/gallery": gallery.page, "/pictures/{sha256:[0-9a-f]{64}}": gallery.picture}
        return Listener(
            Address(settings.gallery_host, settings.gallery_port, DEFAULT_GALLERY_PORT, "CREATIVES_WEB__GALLERY_PORT"),
            pages,
            settings,
        )

    def _warn_if_open(self) -> None:
        if self._settings.gallery_host not in {"127.0.0.1", "::1", "localhost"} and self._settings.token is None:
            advice = "set CREATIVES_WEB__TOKEN, or listen on loopback"
            log.warning("everyone who reaches the gallery sees prompts and pictures", advice=advice)

    async def _live(self, _: web.Request) -> web.Response:
        state = self._view.state()
        alive = state.main_loop_silence < state.stall
        return _json({"live": alive, "main_loop_silence": round(state.main_loop_silence, 3)}, 200 if alive else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = [*unready_reasons(self._view.state()), *await self._store_problems()]
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _store_problems(self) -> list[str]:
        """Return why the store cannot be used. Requests at the same time share one check."""
        if self._store_check is None or self._store_check.done():
            self._store_check = asyncio.create_task(self._check_store(), name="store-check")
        return await asyncio.shield(self._store_check)

    async def _check_store(self) -> list[str]:
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


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(content, status=status)
