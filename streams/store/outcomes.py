"""The CloudEvents headers of an outcome, and the check that a stored outcome is one that its request can have.

The check runs on manifests whose signature is valid. It is the second line of defence: it limits what a leaked signing
key or a mistake of an older version can make a worker publish.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from schemas.events import CreativeReady, CreativeRejected, Image, ProductReady
from streams.messages import Headers, Outcome, OutcomeTopic
from streams.store.keys import concept_name
from streams.store.protocol import ObjectStore

CE_SOURCE = "/fluence/creatives"
_TYPES: dict[OutcomeTopic, str] = {
    "creative_ready": "fluence.creative-ready.v1",
    "product_ready": "fluence.product-ready.v1",
    "creative_rejected": "fluence.creative-rejected.v1",
}
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NAME = re.compile(r"[A-Za-z0-9.-]{1,100}")  # of a picture below its request's prefix
_OF_ANY_REQUEST = re.compile(r"[A-Za-z0-9-]{1,64}/")
Message = CreativeReady | ProductReady | CreativeRejected
_CONTRACTS: dict[tuple[str, OutcomeTopic], type[Message]] = {
    ("creatives", "creative_ready"): CreativeReady,
    ("creatives", "creative_rejected"): CreativeRejected,
    ("concepts", "product_ready"): ProductReady,
    ("concepts", "creative_rejected"): CreativeRejected,
}


def check_outcome(outcome: Outcome, prefix: str, store: ObjectStore) -> None:
    """Raise ValueError unless this is an outcome of the request whose objects lie below `prefix`."""
    folder, own_id, request_id, _ = prefix.split("/")
    contract = _CONTRACTS.get((folder, outcome.topic))
    if contract is None:
        raise ValueError(f"{outcome.topic} is not a topic for outcomes of {folder}/")
    message = contract.model_validate_json(outcome.value)
    found_id = message.product_id if folder == "concepts" else getattr(message, "segment_id", None)
    if (outcome.key, found_id, message.request_id) != (own_id.encode(), own_id, request_id):
        raise ValueError("its key or its ids are those of another request")
    own = cloud_headers(outcome.topic, own_id, message, outcome.headers)
    if outcome.headers != tuple((name, value.encode()) for name, value in own):
        raise ValueError("its headers are not those of an outcome")
    for fault in _foreign_addresses(message, prefix, store):
        raise ValueError(fault)


def _foreign_addresses(message: Message, prefix: str, store: ObjectStore) -> Iterator[str]:
    """Yield a fault for each address that leads outside the request's prefix, or to no concept of the product."""
    if isinstance(message, CreativeRejected):
        return
    for image in message.images:
        if not _is_below(image, prefix, store):
            yield f"the addresses of picture {image.rank} are not below {prefix}"
    if message.concept_uri is not None and not _is_concept(message, prefix, store):
        yield "concept_uri is not that of a concept of the product"


def _is_concept(message: CreativeReady | ProductReady, prefix: str, store: ObjectStore) -> bool:
    uri, name = message.concept_uri or "", concept_name(message.concept_sha256 or "")
    if isinstance(message, ProductReady):
        return uri == store.uri(prefix + name)
    product = store.uri(f"concepts/{message.product_id}/")
    request = uri.removeprefix(product).removesuffix(name)
    return uri == product + request + name and _OF_ANY_REQUEST.fullmatch(request) is not None


def _is_below(image: Image, prefix: str, store: ObjectStore) -> bool:
    name = image.s3_uri.removeprefix(store.uri(prefix))
    named = _NAME.fullmatch(name) and image.s3_uri == store.uri(prefix + name)
    return bool(named) and urlsplit(image.url).scheme in {"", "http", "https"} and prefix + name in unquote(image.url)


def cloud_headers(topic: OutcomeTopic, key: str, message: Message, parent: Headers) -> tuple[tuple[str, str], ...]:
    """Return CloudEvents 1.0 headers (Kafka binding, binary mode) and a W3C `traceparent`."""
    return (
        ("ce_specversion", "1.0"),
        ("ce_id", message.request_id),
        ("ce_source", CE_SOURCE),
        ("ce_type", _TYPES[topic]),
        ("ce_time", message.created_at.isoformat().replace("+00:00", "Z")),
        ("ce_subject", key),
        ("content-type", "application/json"),
        ("traceparent", traceparent(message.request_id, parent)),
    )


def traceparent(request_id: str, parent: Headers) -> str:
    """Return a span in the trace of the `parent` headers, or in a new trace if they carry no valid one."""
    span = hashlib.sha256(f"span {request_id}".encode()).hexdigest()[:16]
    for name, value in parent:
        if name == "traceparent" and _TRACEPARENT.fullmatch(value):
            _, trace, _, flags = value.decode().split("-")
            return f"00-{trace}-{span}-{flags}"
    trace = hashlib.sha256(f"trace {request_id}".encode()).hexdigest()[:32]
    return f"00-{trace}-{span}-01"
