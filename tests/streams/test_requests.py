"""Request ids and seeds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.base import MAX_SEED
from schemas.events import ProductRegistered, SegmentUpdated
from streams.requests import request_id, seeds_from
from tests.streams.world import product, segment

FULL = {
    "schema_version": 1,
    "event_id": "s1",
    "occurred_at": "2026-11-23T10:00:00Z",
    "segment_id": "breakfast",
    "name": "breakfast lovers",
    "keywords": [{"term": "bread", "weight": 1.0}, {"term": "masło", "weight": 0.5, "en": "butter"}],
    "interests": ["cafes"],
    "brand": {"name": "B", "features": ["wooden table"]},
    "copy": {"headline": "Good morning"},
    "seed": 7,
}
CHANGES: dict[str, Any] = {
    "segment_id": "dinner",
    "name": "dinner lovers",
    "name_en": "diners",
    "description": "They love cheese.",
    "description_en": "They love cheese.",
    "language": "pl",
    "keywords": [{"term": "bread", "weight": 2.0}],
    "interests": ["cafes", "cinema"],
    "brand": {"name": "B", "features": ["marble table"]},
    "product_id": "jam",
    "formats": ["story"],
    "candidates": 3,
    "images": 1,
    "seed": 8,
}
PRODUCT_CHANGES: dict[str, Any] = {
    "product_id": "jelly",
    "class_noun": "glass of jelly",
    "images": [f"s3://creatives/photos/jam/{number}.png" for number in (1, 2, 4)],
    "method": "textual_inversion",
    "steps": 7,
    "seed": 8,
}


def segment_request(**changes: Any) -> str:
    return request_id(SegmentUpdated.model_validate_json(json.dumps(FULL | changes)), "f", 0)


def test_request_ids_depend_on_event_recipe_and_regeneration() -> None:
    one = request_id(segment(), "f", 0)
    assert one == request_id(segment(), "f", 0) == "922c4925-7980-5798-b680-ee2839feb4c0"
    ids = {one, request_id(segment("s2"), "f", 0), request_id(segment(), "g", 0), request_id(segment(), "f", 1)}
    assert len(ids) == 4


def test_the_same_event_written_otherwise_is_the_same_request() -> None:
    one = segment_request()
    shuffled = dict(reversed(FULL.items()))
    event = SegmentUpdated.model_validate_json(json.dumps(shuffled, indent=3))
    assert request_id(event, "f", 0) == one
    assert request_id(SegmentUpdated.model_validate_json(event.to_json()), "f", 0) == one, "as parked and released"
    assert segment_request(a_new_field=[1, 2], name="  breakfast lovers ") == one
    assert segment_request(language="en", formats=["square"], candidates=None, description="") == one, "the defaults"
    assert segment_request(keywords=["bread", {"en": "butter", "weight": 0.5, "term": "masło"}], seed=7.0) == one


@pytest.mark.parametrize("field", CHANGES)
def test_a_corrected_segment_is_a_new_request(field: str) -> None:
    assert segment_request(**{field: CHANGES[field]}) != segment_request()


def test_every_field_either_makes_a_new_request_or_is_known_not_to() -> None:
    assert {field.alias or name for name, field in SegmentUpdated.model_fields.items()} == (
        CHANGES.keys() | {"schema_version", "event_id", "occurred_at", "copy"}
    )
    assert ProductRegistered.model_fields.keys() == (
        PRODUCT_CHANGES.keys() | {"schema_version", "event_id", "occurred_at", "name"}
    )


@pytest.mark.parametrize(
    "change",
    [
        {"occurred_at": "2026-11-24T10:00:00Z"},
        {"copy": {"headline": "Good evening"}},
        {"brand": {"name": "Other", "features": ["wooden table"]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_no_picture_makes_no_new_request(change: dict[str, Any]) -> None:
    assert segment_request(**change) == segment_request()


@pytest.mark.parametrize("field", PRODUCT_CHANGES)
def test_a_corrected_registration_is_a_new_request(field: str) -> None:
    assert request_id(product(**{field: PRODUCT_CHANGES[field]}), "f", 0) != request_id(product(), "f", 0)


@pytest.mark.parametrize("change", [{"name": "Raspberry"}, {"occurred_at": "2026-11-24T10:00:00Z"}])
def test_what_decides_no_concept_makes_no_new_request(change: dict[str, Any]) -> None:
    assert request_id(product(**change), "f", 0) == request_id(product(), "f", 0)


def test_a_field_of_a_later_release_keeps_the_requests_of_old_events() -> None:
    class Later(SegmentUpdated):
        mood: str = "calm"

    event = Later.model_validate(FULL)
    assert request_id(event, "f", 0) == segment_request()
    assert request_id(event.model_copy(update={"mood": "wild"}), "f", 0) != segment_request()


def test_seeds_are_stable_and_distinct() -> None:
    seeds = seeds_from("x", 64)
    assert seeds[:8] == seeds_from("x", 8)
    assert len(set(seeds)) == 64
    assert all(0 <= seed <= MAX_SEED for seed in seeds)
    assert max(seeds) > MAX_SEED / 2


def test_readers_with_floating_point_numbers_keep_every_seed() -> None:
    """jq and JavaScript read numbers as doubles."""
    assert all(int(float(seed)) == seed for seed in (*seeds_from("y", 200), MAX_SEED))
