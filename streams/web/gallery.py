"""The gallery: the latest creatives for people. The server passes the pictures on, so readers get no store link.

A presigned link would hand the store's address and access key id to every reader, and works for days.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from jinja2 import Environment, PackageLoader

from models.errors import CreativesError
from schemas.events import Image
from streams.store.keys import FILE_EXTENSIONS
from streams.web.state import View

_AT_ONCE = 4  # pictures in memory, each up to `_PICTURE_BYTES` of state.py; slow readers keep others waiting


class Gallery:
    """The pages of the gallery."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._pages = Environment(loader=PackageLoader("streams.web"), autoescape=True)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def page(self, _: web.Request) -> web.Response:
        """Return the page as HTML."""
        text = self._pages.get_template("gallery.html").render(
            creatives=self._view.latest(), state=self._view.state(), shown=FILE_EXTENSIONS
        )
        return web.Response(text=text, content_type="text/html")

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Return the bytes of a picture that the page shows, by its sha256. Raises HTTPNotFound, HTTPBadGateway."""
        image = self._shown_image(request.match_info["sha256"])
        async with self._slots:
            try:
                content = await self._view.fetch_picture(image.s3_uri)
            except CreativesError:
                raise web.HTTPBadGateway(text="The object store does not give the picture out.\n") from None
            if content is None:
                raise web.HTTPNotFound
            headers = {"Content-Type": image.media_type, "Cache-Control": "private, max-age=86400, immutable"}
            response = web.Response(body=content, headers=headers)
            response.force_close()
            await response.prepare(request)
            await response.write_eof()
        return response

    def _shown_image(self, sha256: str) -> Image:
        for creative in self._view.latest():
            for image in creative.images:
                if image.sha256 == sha256 and image.media_type in FILE_EXTENSIONS:
                    return image
        raise web.HTTPNotFound
