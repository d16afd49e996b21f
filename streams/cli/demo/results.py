"""The results of the demo: one outcome event per segment or product, with its pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from schemas.events import CreativeReady, Image, ProductReady, ProductRegistered, SegmentUpdated
from streams.cli.demo.errors import DemoFailed
from streams.cli.event_file import ValidEvent
from streams.store.keys import FILE_EXTENSIONS


@dataclass(frozen=True)
class FetchedPicture:
    """One picture of a result, fetched from its URL and checked against its sha256."""

    image: Image
    content: bytes


@dataclass(frozen=True)
class SegmentResult:
    """A segment and its creative-ready event. value: the message exactly as published."""

    segment: SegmentUpdated
    ready: CreativeReady
    value: bytes
    pictures: tuple[FetchedPicture, ...]

    def picture_path(self, picture: FetchedPicture) -> str:
        """Return the path of a picture below the output folder."""
        return _picture_path(self.ready.segment_id, picture.image)


@dataclass(frozen=True)
class ProductResult:
    """A product and its product-ready event; its pictures are samples. value: the message exactly as published."""

    product: ProductRegistered
    ready: ProductReady
    value: bytes
    pictures: tuple[FetchedPicture, ...]

    def picture_path(self, picture: FetchedPicture) -> str:
        """Return the path of a picture below the output folder."""
        return _picture_path(f"product-{self.ready.product_id}", picture.image)


Result = SegmentResult | ProductResult


def _picture_path(name: str, image: Image) -> str:
    return f"pictures/{name}-{image.format}-{image.rank}.{FILE_EXTENSIONS[image.media_type]}"


def segment_results(results: Sequence[Result]) -> list[SegmentResult]:
    """Return the results of segments."""
    return [result for result in results if isinstance(result, SegmentResult)]


def product_results(results: Sequence[Result]) -> list[ProductResult]:
    """Return the results of products."""
    return [result for result in results if isinstance(result, ProductResult)]


async def fetch_result(event: ValidEvent, value: bytes, client: httpx.AsyncClient) -> Result:
    """Return the result of an event from its outcome, with the pictures. Raises DemoFailed if one cannot be fetched."""
    if isinstance(event.content, ProductRegistered):
        product_ready = ProductReady.model_validate_json(value)
        return ProductResult(event.content, product_ready, value, await _fetch_all(product_ready.images, client))
    creative_ready = CreativeReady.model_validate_json(value)
    return SegmentResult(event.content, creative_ready, value, await _fetch_all(creative_ready.images, client))


async def _fetch_all(images: Sequence[Image], client: httpx.AsyncClient) -> tuple[FetchedPicture, ...]:
    return tuple([FetchedPicture(image, await _fetch(image, client)) for image in images])


async def _fetch(image: Image, client: httpx.AsyncClient) -> bytes:
    """Return the bytes at the image's URL, as any consumer of the event would fetch them."""
    try:
        content = (await client.get(image.url)).raise_for_status().content
    except httpx.HTTPError as error:
        reason = str(error).splitlines()[0]  # the next line is a link to documentation of HTTP status codes
        raise DemoFailed(reason=f"A picture cannot be fetched: {reason}") from None
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise DemoFailed(reason=f"The bytes at {image.url} do not match the sha256 of their event.")
    return content
