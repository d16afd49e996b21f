"""Object keys. Everything about one request lies below one prefix; nothing an event says can reach outside its own.

`creatives/<segment_id>/<request_id>/<rank>.<ext>`, `manifest.json` and, where it shows a product, `concept.json`;
`concepts/<product_id>/<request_id>/...`, `concepts/<product_id>/current.json`; `checkpoints/...`;
`parked/<product_id>/<request_id>.json`.
"""

from __future__ import annotations

PARKED = "parked/"
_MANIFEST = "manifest.json"
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def creative_prefix(segment_id: str, request_id: str) -> str:
    """Return `creatives/<segment_id>/<request_id>/`."""
    return f"creatives/{_part(segment_id)}/{_part(request_id)}/"


def concept_prefix(product_id: str, request_id: str) -> str:
    """Return `concepts/<product_id>/<request_id>/`."""
    return f"concepts/{_part(product_id)}/{_part(request_id)}/"


def checkpoint_prefix(product_id: str, request_id: str) -> str:
    """Return `checkpoints/<product_id>/<request_id>/`."""
    return f"checkpoints/{_part(product_id)}/{_part(request_id)}/"


def current_concept_key(product_id: str) -> str:
    """Return the key of the pointer to a product's newest concept."""
    return f"concepts/{_part(product_id)}/current.json"


def parked_prefix(product_id: str) -> str:
    """Return `parked/<product_id>/`, below which segments wait for the product."""
    return f"{PARKED}{_part(product_id)}/"


def parked_key(product_id: str, request_id: str) -> str:
    """Return the key of one waiting segment."""
    return f"{parked_prefix(product_id)}{_part(request_id)}.json"


def pinned_concept_key(prefix: str) -> str:
    """Return the key of the concept that a set's pictures show."""
    return f"{prefix}concept.json"


def manifest_key(prefix: str) -> str:
    """Return the key of a set's manifest."""
    return f"{prefix}{_MANIFEST}"


def _part(value: str) -> str:
    """Return `value` where it is one harmless part of a key; the schemas hold this too, this is the second lock."""
    if not value or value.startswith(".") or ".." in value or any(sign in value for sign in "/\\?#% \t\r\n\0"):
        raise ValueError(f"{value!r} cannot be part of an object key")
    return value


def picture_name(rank: int, media_type: str) -> str:
    """Return a picture's name below its prefix, such as `1.png`. Ranks run over all formats of a request."""
    return f"{rank}.{_ENDINGS[media_type]}"
