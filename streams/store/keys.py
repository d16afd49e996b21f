"""Object keys. All objects of one request share a prefix, and no value of an event can lead outside it.

`creatives/<segment_id>/<request_id>/` holds `<format>-<rank>.<ext>`, `manifest.json`, and `concept.json` for a product.
`concepts/<product_id>/<request_id>/` holds the trained concept, its sample pictures and `manifest.json`.
`concepts/<product_id>/current.json` points to the product's current concept.
`checkpoints/<product_id>/<request_id>/` holds training checkpoints.
`parked/<product_id>/<request_id>.json` holds a segment that waits for the product.
"""

from __future__ import annotations

PARKED = "parked/"
_MANIFEST = "manifest.json"
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


def pinned_concept_key(prefix: str) -> str:
    """Return the key of the concept that a request's pictures show."""
    return f"{prefix}concept.json"


def manifest_key(prefix: str) -> str:
    """Return the key of a request's manifest."""
    return f"{prefix}{_MANIFEST}"


def picture_name(picture_format: str, rank: int, media_type: str) -> str:
    """Return a picture's name below its prefix, such as `square-1.png`. Each format has its own ranks."""
    return f"{picture_format}-{rank}.{FILE_EXTENSIONS[media_type]}"


def _require_safe(part: str) -> str:
    """Return `part`. Raises ValueError if it is not safe in a key; the schemas check ids too, this is the backstop."""
    if not part or part.startswith(".") or ".." in part or any(character in part for character in "/\\?#% \t\r\n\0"):
        raise ValueError(f"{part!r} cannot be part of an object key")
    return part
