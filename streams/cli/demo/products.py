"""The demo's two products, each taught both ways: photos for the store, registrations, and a segment for each.

The same segment comes once more without the product, with the class noun in its place: what is drawn untaught. All
three have one seed, so that their candidates start from the same noise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.cli.event_file import Letter, Unfit, letters
from streams.cli.terminal import Wrong
from streams.settings import Settings
from streams.store.s3 import MinioStore

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
METHODS = ("dreambooth", "textual_inversion")
SEED = 20261123


@dataclass(frozen=True)
class Product:
    """One product of `docs/examples`: its registration, the folder of its photos, and a segment that names it."""

    registration: str
    photos: str
    segment: str


PRODUCTS = (
    Product("carton-of-milk", "milk", "breakfast-with-milk"),
    Product("jar-of-jam", "jam", "toast-with-jam"),
)


def product_events(settings: Settings) -> list[Letter]:
    """Return a registration and a segment per product and method, with ids of their own, and the untaught segment."""
    found = []
    for product in PRODUCTS:
        found.append(_letter(_untaught(product), settings))
        for method in METHODS:
            ending = method.replace("_", "-")
            registration, segment = _example(product.registration), _example(product.segment)
            name = f"{registration['product_id']}-{ending}"
            images = [_uri(settings, product, photo) for photo in photos(product)]
            registration |= {"product_id": name, "method": method, "images": images}
            segment |= {"product_id": name, "segment_id": f"{segment['segment_id']}-{ending}", "seed": SEED}
            for fields in (registration, segment):
                fields["event_id"] = f"{fields['event_id']}-{ending}"
                found.append(_letter(fields, settings))
    return found


async def put_photos(settings: Settings) -> None:
    """Put the photos where the registrations say. Raises StoreUnavailable, StoreRefused."""
    store = MinioStore(settings.storage)
    try:
        for product in PRODUCTS:
            for photo in photos(product):
                await store.put(_key(product, photo), photo.read_bytes(), "image/png")
    finally:
        store.close()


def photos(product: Product) -> list[Path]:
    """Return the product's photos, in order."""
    return sorted((EXAMPLES / "products" / product.photos).glob("*.png"))


def _untaught(product: Product) -> dict[str, Any]:
    """Return the segment with the class noun as its heaviest keyword and no product."""
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
        raise Wrong(f"{path} is missing; run the demo from a checkout.")
    fields: dict[str, Any] = json.loads(path.read_bytes())
    return fields


def _key(product: Product, photo: Path) -> str:
    return f"photos/{product.photos}/{photo.name}"


def _uri(settings: Settings, product: Product, photo: Path) -> str:
    return f"s3://{settings.storage.bucket}/{_key(product, photo)}"


def _letter(fields: dict[str, Any], settings: Settings) -> Letter:
    (letter,) = letters(json.dumps(fields).encode(), settings)
    assert not isinstance(letter, Unfit), letter.faults
    return letter
