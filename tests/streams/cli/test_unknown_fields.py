"""Unknown fields, and what their author probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.base import Contract
from schemas.events import ProductRegistered, SegmentUpdated
from streams.cli.unknown_fields import unknown_fields


def found(fields: dict[str, Any], model: type[Contract] = SegmentUpdated) -> list[str]:
    return [str(field) for field in unknown_fields(fields, model)]


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("keyword", "keywords"),
        ("Description", "description"),
        ("format", "formats"),
        ("imags", "images"),
        ("segmentId", "segment_id"),
        ("eventid", "event_id"),
        ("occured_at", "occurred_at"),
        ("NAME", "name"),
    ],
)
def test_the_nearest_field_is_suggested(typo: str, meant: str) -> None:
    assert found({typo: 1}) == [f"{typo} (did you mean {meant}?)"]


def test_a_field_like_no_other_gets_no_suggestion() -> None:
    assert found({"x-trace": 1}) == ["x-trace"]


def test_parts_are_searched_even_if_they_are_invalid() -> None:
    fields = {
        "keywords": [7, "plain", {"term": "b", "wieght": 3}],
        "interests": {"term": "x", "english": "y"},
        "brand": {"feature": ["x"], "features": [{"terms": 1}]},
        "copy": {"headlin": "H"},
        "ad_copy": None,
        "formats": [{"square": True}],
    }
    assert found(fields) == [
        "brand.feature (did you mean brand.features?)",
        "brand.features.0.terms (did you mean brand.features.0.term?)",
        "copy.headlin (did you mean copy.headline?)",
        "interests.english",
        "keywords.2.wieght (did you mean keywords.2.weight?)",
    ]


def test_each_event_has_its_own_fields() -> None:
    assert found({"classnoun": "jar", "keywords": []}, ProductRegistered) == [
        "classnoun (did you mean class_noun?)",
        "keywords",
    ]
