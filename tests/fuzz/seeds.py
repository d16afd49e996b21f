"""Sound inputs: what the targets read when nobody attacks."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save

from models.wire_format import encode
from schemas.events import SegmentUpdated
from streams.store.concepts import CurrentConcept
from streams.store.keys import concept_name, concept_prefix, current_concept_key, parked_key
from tests.models.test_wire_format import MESSAGES
from tests.raw_batches import CODECS, batch
from tests.streams.store.outcome_examples import creative_set

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
PRODUCT_ID, REQUEST_ID = "mleko-laka", "0" * 32
POINTER_KEY = current_concept_key(PRODUCT_ID)
PARKED_KEY = parked_key(PRODUCT_ID, REQUEST_ID)
ALLOWED_HOSTS = ("photos.example.org", "photos.example.org:8443")


def segment_events() -> list[bytes]:
    """Return the segments of docs/examples."""
    files = sorted(EXAMPLES.glob("*.json"))
    return [content for content in (path.read_bytes() for path in files) if b'"segment_id"' in content]


def product_events() -> list[bytes]:
    """Return the products of docs/examples."""
    files = sorted(EXAMPLES.glob("*.json"))
    return [content for content in (path.read_bytes() for path in files) if b'"segment_id"' not in content]


def record_batches() -> list[bytes]:
    """Return one batch per codec, of records with and without a key, value and headers."""
    values = [b"first", None, b"third" * 50]
    return [batch(values, codec=codec, headers=[("ce_id", b"1"), ("empty", None)]) for codec in CODECS.values()]


def pointers() -> list[bytes]:
    """Return a concept pointer."""
    sha256 = "ab" * 32
    return [
        CurrentConcept(
            product_id=PRODUCT_ID,
            request_id=REQUEST_ID,
            occurred_at=datetime(2026, 11, 23, tzinfo=UTC),
            offset=3,
            method="dreambooth",
            class_noun="carton of milk",
            placeholder_token="sks",
            key=concept_prefix(PRODUCT_ID, REQUEST_ID) + concept_name(sha256),
            sha256=sha256,
            weights="demo",
        ).to_json()
    ]


def manifests() -> list[bytes]:
    """Return the manifests of one and of two pictures."""
    return [creative_set("a dog", count).manifest.to_json() for count in (1, 2)]


def parked_segments() -> list[bytes]:
    """Return the segments of docs/examples that wait for PRODUCT_ID, as workers store them."""
    events = map(SegmentUpdated.model_validate_json, segment_events())
    return [event.to_json() for event in events if event.product_id == PRODUCT_ID]


def tensor_files() -> list[bytes]:
    """Return two small safetensors files."""
    return [
        save({"params_ema.a": torch.ones(2, 3), "params_ema.b": torch.zeros(1, dtype=torch.int64)}, {"format": "pt"}),
        save({"half": torch.ones(4, dtype=torch.float16)}),
    ]


def device_frames() -> list[bytes]:
    """Return one frame per message that crosses the pipe."""
    return [b"".join(encode(message)) for message in MESSAGES]


def photos() -> list[bytes]:
    """Return one small photo in each file type that the service reads."""
    image = Image.linear_gradient("L").resize((72, 66)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    found = []
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"):
        buffer = io.BytesIO()
        image.save(buffer, form, **({"exif": exif} if form in {"JPEG", "PNG", "WEBP", "TIFF"} else {}))
        found.append(buffer.getvalue())
    return found


def photo_addresses() -> list[bytes]:
    """Return addresses of photos, allowed and not."""
    return [
        b"https://photos.example.org/milk/1.png",
        b"https://photos.example.org:8443/milk/1.png?X-Amz-Signature=abc",
        b"https://photos.example.org@127.0.0.1/1.png",
        b"https://photos.example.org.:443/%2e%2e/1.png#fragment",
        b"https://[::ffff:10.0.0.1]/1.png",
    ]
