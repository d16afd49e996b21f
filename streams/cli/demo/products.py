"""The demo's two products: their photos, a registration for each training method, and the segments that use them.

Each segment is sent once per method, and once without the product, with the class noun in its place, to show the
pictures from before the training. All three have the same seed, so their candidates start from the same noise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.cli.event_file import InvalidEntry, ValidEvent, read_events
from streams.cli.terminal import InputError
from streams.settings import Settings
from streams.store.s3 import MinioStore

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
METHODS = ("dreambooth", "textual_inversion")
SEED = 20261123


@dataclass(frozen=True)
class ExampleProduct:
    """A product of `docs/examples`: the files of its registration and segment, and the folder of its photos."""

    registration: str
    photos: str
    segment: str


PRODUCTS = (
    ExampleProduct("carton-of-milk", "milk", "breakfast-with-milk"),
    ExampleProduct("jar-of-jam", "jam", "toast-with-jam"),
)


def product_events(settings: Settings) -> list[ValidEvent]:
    """Return for each product the segment without it, then a registration and a segment per method, with unique ids."""
    events = []
    for product in PRODUCTS:
        events.append(_valid_event(_segment_before(product), settings))
        for method in METHODS:
            suffix = method.replace("_", "-")
            registration, segment = _example(product.registration), _example(product.segment)
            product_id = f"{registration['product_id']}-{suffix}"
            images = [f"s3://{settings.storage.bucket}/{_key(product, photo)}" for photo in _photos(product)]
            registration |= {"product_id": product_id, "method": method, "images": images}
            segment |= {"product_id": product_id, "segment_id": f"{segment['segment_id']}-{suffix}", "seed": SEED}
            for fields in (registration, segment):
                fields["event_id"] = f"{fields['event_id']}-{suffix}"
                events.append(_valid_event(fields, settings))
    return events


async def store_photos(settings: Settings) -> None:
    """Put the photos into the object store, at the URIs of the registrations. Raises StoreUnavailable, StoreRefused."""
    store = MinioStore(settings.storage)
    try:
        for product in PRODUCTS:
            for photo in _photos(product):
                await store.put(_key(product, photo), photo.read_bytes(), "image/png")
    finally:
        store.close()


def _photos(product: ExampleProduct) -> list[Path]:
    return sorted((EXAMPLES / "products" / product.photos).glob("*.png"))


def _key(product: ExampleProduct, photo: Path) -> str:
    return f"photos/{product.photos}/{photo.name}"


def _segment_before(product: ExampleProduct) -> dict[str, Any]:
    """Return the segment without its product, with the class noun as its heaviest keyword."""
    segment, noun = _example(product.segment), _example(product.registration)["class_noun"]
    heaviest = max(float(keyword["weight"]) for keyword in segment["keywords"])
    return {
        **{name: value for name, value in segment.items() if name != "product_id"},
        "event_id": f"{segment['event_id']}-before",
        "segment_id": f"{segment['segment_id']}-before",
        "keywords": [{"term": noun, "weight": heaviest + 1}, *segment["keywords"]],
        "seed": SEED,
    }


def _example(name: str) -> dict[str, Any]:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        raise InputError(f"{path} is missing. Run the demo from a checkout.")
    fields: dict[str, Any] = json.loads(path.read_bytes())
    return fields


def _valid_event(fields: dict[str, Any], settings: Settings) -> ValidEvent:
    (event,) = read_events(json.dumps(fields).encode(), settings)
    assert not isinstance(event, InvalidEntry), event.faults
    return event
