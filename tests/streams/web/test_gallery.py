"""The gallery over real HTTP: creatives, pictures without store links, and no way in for scripts."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from schemas.events import CreativeReady
from streams.failures import StoreUnavailable
from tests.streams.web.fake_view import FakeView, rendered_outcome

SIGNED = "http://store/creatives/1.png?X-Amz-Credential=AKIA-OF-THE-WORKER"


@pytest.fixture
async def creative(view: FakeView, tmp_path: Path) -> CreativeReady:
    """A creative whose only picture is in the store."""
    made = CreativeReady.model_validate_json((await rendered_outcome(tmp_path)).value)
    made = made.model_copy(update={"images": (made.images[0].model_copy(update={"url": SIGNED}),)})
    view.creatives = [made]
    view.pictures = {made.images[0].s3_uri: b"the picture"}
    return made


async def test_it_shows_creatives_without_store_links(gallery: httpx.AsyncClient, creative: CreativeReady) -> None:
    page = await gallery.get("/gallery")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; img-src 'self';")
    assert "an advertising photo of coffee, soft light" in page.text
    assert "CLIP 0.207" in page.text
    assert "AKIA-OF-THE-WORKER" not in page.text
    assert "http://store" not in page.text
    assert f'<img src="pictures/{creative.images[0].sha256}"' in page.text


async def test_it_passes_on_the_pictures_of_the_page_and_no_others(
    gallery: httpx.AsyncClient, view: FakeView, creative: CreativeReady
) -> None:
    address = f"/pictures/{creative.images[0].sha256}"
    picture = await gallery.get(address)
    assert (picture.content, picture.headers["content-type"]) == (b"the picture", "image/png")
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert (await gallery.get("/pictures/" + "0" * 64)).status_code == 404
    assert (await gallery.get("/pictures/..%2Fmanifest.json")).status_code == 404
    view.pictures = {}
    assert (await gallery.get(address)).status_code == 404
    view.store_error = StoreUnavailable(endpoint="http://store", detail="Connection refused")
    refused = await gallery.get(address)
    assert refused.status_code == 502
    assert "http://store" not in refused.text
    html = creative.images[0].model_copy(update={"media_type": "text/html"})
    view.creatives = [creative.model_copy(update={"images": (html,)})]
    assert (await gallery.get(address)).status_code == 404


async def test_it_is_empty_at_first(gallery: httpx.AsyncClient) -> None:
    assert "No creatives yet" in (await gallery.get("/")).text


async def test_it_escapes_event_text(gallery: httpx.AsyncClient, view: FakeView, creative: CreativeReady) -> None:
    evil = "\"><script>alert(1)</script>'"
    texts = {"prompt": evil, "negative_prompt": evil, "rationale": (evil,), "segment_id": evil}
    image = creative.images[0].model_copy(update={"url": "javascript:alert(1)"})
    view.creatives = [creative.model_copy(update={**texts, "images": (image,)})]
    page = await gallery.get("/gallery")
    assert "<script" not in page.text
    assert "javascript:" not in page.text
