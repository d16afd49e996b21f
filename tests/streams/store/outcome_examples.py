"""Outcomes of one segment and of one product, as the handlers make them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from models.briefs import Picture
from schemas.events import Cost, CreativeReady, CreativeRejected, ProductReady, Source
from streams.messages import Headers, OutcomeTopic
from streams.store.keys import concept_name
from streams.store.manifests import Manifest, ObjectSet, build_manifest, event_recipe, prepare_pictures
from streams.store.outcomes import Message
from tests import fakes
from tests.fakes import MemoryStore

SEGMENT, PRODUCT = "creatives/s1/r-1/", "concepts/jam/r-1/"
SHA256 = "ab" * 32
COMMON = {
    "request_id": "r-1",
    "event_id": "e1",
    "recipe": event_recipe(fakes.RECIPE),
    "cost": Cost(device_seconds=1.0, candidates=2, device="cpu"),
    "source": Source(topic="t", partition=0, offset=1),
    "created_at": datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC),
}


def pictures(words: str, count: int = 1) -> list[Picture]:
    return [
        Picture(n, "square", n, 1, 1, "image/png", f"{words} {n}".encode(), {"clip": 0.5}) for n in range(1, count + 1)
    ]


def creative_set(words: str = "ours", count: int = 1, headers: Headers = ()) -> ObjectSet:
    """Return the objects of a rendered segment. words: decide the bytes of the pictures and the prompt."""
    objects, images, _ = prepare_pictures(pictures(words, count), SEGMENT, MemoryStore())
    message = CreativeReady(segment_id="s1", prompt=words, negative_prompt="", images=images, **COMMON)
    return ObjectSet(objects, build_manifest("creative_ready", "s1", message, headers))


def product_manifest() -> Manifest:
    _, images, _ = prepare_pictures(pictures("sample"), PRODUCT, MemoryStore())
    message = ProductReady(
        product_id="jam", method="dreambooth", concept_uri=f"s3://creatives/{PRODUCT}{concept_name(SHA256)}",
        concept_sha256=SHA256, placeholder_token="sks", class_noun="jar", steps=1, scores={}, images=images, **COMMON,
    )  # fmt: skip
    return build_manifest("product_ready", "jam", message, ())


def rejection(topic: OutcomeTopic = "creative_rejected", **ids: str) -> Manifest:
    message: Message = CreativeRejected(code="c", reason="r", **ids, **COMMON)
    return build_manifest(topic, next(iter(ids.values())), message, ())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
