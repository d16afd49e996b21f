"""Object keys. All objects of one request share a prefix, and no value of an event can lead outside it.

`creatives/<segment_id>/<request_id>/` holds pictures, `manifest.json` and, for a product, `concept.json`.
`concepts/<product_id>/<request_id>/` holds the trained concept, its sample pictures and `manifest.json`.
`concepts/<product_id>/current.json` points to the product's current concept.
`checkpoints/<product_id>/<request_id>/` holds training checkpoints.
`parked/<product_id>/<request_id>.json` holds a segment that waits for the product.

Names of pictures and concepts contain the start of their sha256. A slow worker that renders a request again can
therefore never overwrite an object that the faster worker has announced. All JSON objects are signed, see
`streams.store.signed_objects`.
"""

from __future__ import annotations

import re

PARKED = "parked/"
_MANIFEST = "manifest.json"
_DIGEST_DIGITS = 16  # of the sha256 in a name
_PARKED_KEY = re.compile(rf"{PARKED}([A-Za-z0-9][A-Za-z0-9._:-]{{0,127}})/[A-Za-z0-9-]{{1,64}}\.json")
FILE_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def creative_prefix(segment_id: str, request_id: str) -> str:
    """Return `creatives/<segment_id>/<request_id>/`."""
    return f"creatives/{_require_safe(segment_id)}/{_require_safe(request_id)}/"


def concept_prefix(product_id: str, request_id: str) -> str:
    """Return `concepts/<product_id>/<request_id>/`."""
    return f"concepts/{_require_safe(product_id)}/{_require_safe(request_id)}/"


def checkpoint_prefix(product_id: str, request_id: str) -> str:
    """Return `checkpoints/<product_id>/<request_id>/`."""
    return f"checkpoints/{_require_safe(product_id)}/{_require_safe(request_id)}/"


def current_concept_key(product_id: str) -> str:
    """Return the key of the pointer to a product's current concept."""
    return f"concepts/{_require_safe(product_id)}/current.json"


def parked_prefix(product_id: str) -> str:
    """Return `parked/<product_id>/`, the prefix of all segments that wait for the product."""
    return f"{PARKED}{_require_safe(product_id)}/"


def parked_key(product_id: str, request_id: str) -> str:
    """Return the key of one parked segment."""
    return f"{parked_prefix(product_id)}{_require_safe(request_id)}.json"


def parked_product(key: str) -> str | None:
    """Return the product that the segment parked at `key` waits for, or None if no segment has this key."""
    found = _PARKED_KEY.fullmatch(key)
    return found[1] if found and ".." not in key else None


def pinned_concept_key(prefix: str) -> str:
    """Return the key of the concept that a request's pictures show."""
    return f"{prefix}concept.json"


def manifest_key(prefix: str) -> str:
    """Return the key of a request's manifest."""
    return f"{prefix}{_MANIFEST}"


def picture_name(picture_format: str, rank: int, sha256: str, media_type: str) -> str:
    """Return a picture's name below its prefix, such as `square-1-da95434017c22939.png`.

    Each format has its own ranks.
    """
    return f"{picture_format}-{rank}-{sha256[:_DIGEST_DIGITS]}.{FILE_EXTENSIONS[media_type]}"


def concept_name(sha256: str) -> str:
    """Return a concept's name below its prefix."""
    return f"concept-{sha256[:_DIGEST_DIGITS]}.safetensors"


def _require_safe(part: str) -> str:
    """Return `part`. Raises ValueError if it is not safe in a key; the schemas check ids too, this is the backstop."""
    if not part or part.startswith(".") or ".." in part or any(character in part for character in "/\\?#% \t\r\n\0"):
        raise ValueError(f"{part!r} cannot be part of an object key")
    return part
