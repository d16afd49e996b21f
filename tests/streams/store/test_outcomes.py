"""The headers of outcomes, and which stored outcomes a request can have."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from streams.messages import Outcome
from streams.store.keys import concept_name
from streams.store.outcomes import check_outcome, traceparent
from tests.fakes import MemoryStore
from tests.streams.store.outcome_examples import PRODUCT, SEGMENT, SHA256, creative_set, product_manifest, rejection

STORE = MemoryStore()
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def creative() -> Outcome:
    return creative_set("words", 2).manifest.outcome


NAMED = json.loads(creative().value)["images"][0]["s3_uri"].removeprefix("s3://creatives/")


def changed(outcome: Outcome, **fields: Any) -> Outcome:
    """Return the outcome with other fields in its message."""
    return replace(outcome, value=json.dumps(json.loads(outcome.value) | fields).encode())


def with_image(outcome: Outcome, **fields: Any) -> Outcome:
    first, *others = json.loads(outcome.value)["images"]
    return changed(outcome, images=[first | fields, *others])


@pytest.mark.parametrize(
    ("outcome", "prefix"),
    [
        (creative(), SEGMENT),
        (creative_set("words", headers=(("traceparent", TRACE),)).manifest.outcome, SEGMENT),
        (with_image(creative(), url=f"https://cdn.example/i?src=/creatives/{NAMED}"), SEGMENT),  # of a public base
        (with_image(creative(), url=f"/pictures/{NAMED}"), SEGMENT),
        (product_manifest().outcome, PRODUCT),
        (
            changed(
                creative(),
                product_id="jam",
                concept_sha256=SHA256,
                concept_uri=f"s3://creatives/concepts/jam/r-9/{concept_name(SHA256)}",
            ),
            SEGMENT,
        ),
        (rejection(segment_id="s1", product_id="jam").outcome, SEGMENT),
        (rejection(product_id="jam").outcome, PRODUCT),
    ],
)
def test_outcomes_of_the_handlers_pass(outcome: Outcome, prefix: str) -> None:
    check_outcome(outcome, prefix, STORE)


@pytest.mark.parametrize(
    ("outcome", "prefix", "fault"),
    [
        (replace(creative(), topic="segment_updated"), SEGMENT, "segment_updated is not a topic for"),
        (replace(creative(), topic="product_ready"), SEGMENT, "product_ready is not a topic for"),
        (replace(product_manifest().outcome, topic="creative_ready"), PRODUCT, "creative_ready is not a topic for"),
        (replace(creative(), value=b"{}"), SEGMENT, "validation error"),
        (replace(creative(), key=b"other"), SEGMENT, "another request"),
        (creative(), "creatives/s1/r-2/", "another request"),
        (creative(), "creatives/s2/r-1/", "another request"),
        (product_manifest().outcome, "concepts/milk/r-1/", "another request"),
        (rejection(product_id="jam").outcome, "creatives/jam/r-1/", "another request"),
        (changed(creative(), segment_id="s2"), SEGMENT, "another request"),
        (changed(creative(), created_at="2026-11-23T12:00:01Z"), SEGMENT, "headers"),
        (replace(creative(), headers=()), SEGMENT, "headers"),
        (replace(creative(), headers=(*creative().headers, ("x", b"1"))), SEGMENT, "headers"),
        (replace(creative(), headers=tuple(reversed(creative().headers))), SEGMENT, "headers"),
        (with_image(creative(), s3_uri=f"s3://other/{SEGMENT}1-a.png"), SEGMENT, "picture 1 are not below"),
        (with_image(creative(), s3_uri=f"s3://creatives/{SEGMENT}../r-2/1.png"), SEGMENT, "picture 1 are not below"),
        (with_image(creative(), s3_uri="s3://creatives/photos/x.png"), SEGMENT, "picture 1 are not below"),
        (with_image(creative(), url="https://evil.example/"), SEGMENT, "picture 1 are not below"),
        (changed(creative(), concept_uri="s3://creatives/concepts/jam/r/x", product_id="jam"), SEGMENT, "concept_uri"),
        (
            changed(
                creative(),
                product_id="jam",
                concept_sha256=SHA256,
                concept_uri=f"s3://creatives/concepts/jam/../milk/r/{concept_name(SHA256)}",
            ),
            SEGMENT,
            "concept_uri",
        ),
        (changed(product_manifest().outcome, concept_uri=f"s3://creatives/{PRODUCT}x"), PRODUCT, "concept_uri"),
        (changed(product_manifest().outcome, concept_sha256="cd" * 32), PRODUCT, "concept_uri"),
    ],
)
def test_an_outcome_that_the_request_cannot_have_is_invalid(outcome: Outcome, prefix: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check_outcome(outcome, prefix, STORE)


def test_a_link_that_runs_a_script_is_invalid() -> None:
    with pytest.raises(ValueError, match="picture 1 are not below"):
        check_outcome(with_image(creative(), url=f"javascript:alert(1)//{NAMED}"), SEGMENT, STORE)


@pytest.mark.parametrize(
    "parent", [b"", b"\xff\xfe", b"00-zz", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"01-a-b-c"]
)
def test_a_broken_trace_is_replaced(parent: bytes) -> None:
    assert traceparent("r", (("traceparent", parent),)) == traceparent("r", ())
