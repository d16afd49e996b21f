"""Phrases are plain strings or objects, and keep the form in which they came."""

import json

import pytest
from pydantic import ValidationError

from schemas.events import Brand, SegmentUpdated

EVENT = {"event_id": "e", "occurred_at": "2026-11-23T10:00:00Z", "segment_id": "s", "name": "n"}


def segment(**fields):
    return SegmentUpdated.model_validate_json(json.dumps({**EVENT, **fields}))


def test_interests_and_features_are_strings_or_objects():
    given = {
        "interests": ["running", {"term": "kawiarnie", "en": "cafes"}, {"term": "las"}],
        "brand": {"name": "B", "features": ["fresh", {"term": "szkło", "en": "glass"}]},
    }
    event = segment(**given)
    assert [(one.term, one.en) for one in event.interests] == [("running", None), ("kawiarnie", "cafes"), ("las", None)]
    written = json.loads(event.to_json())
    assert written["brand"] == given["brand"]
    assert written["interests"] == ["running", {"term": "kawiarnie", "en": "cafes"}, "las"]
    assert SegmentUpdated.model_validate_json(event.to_json()) == event


@pytest.mark.parametrize("wrong", [7, None, [], {}, "", {"term": ""}, {"en": "x"}, "x" * 201])
def test_the_error_names_the_place_of_a_wrong_phrase(wrong):
    with pytest.raises(ValidationError) as caught:
        Brand.model_validate({"name": "B", "features": ["ok", wrong]})
    [fault] = caught.value.errors()
    assert fault["loc"][:2] == ("features", 1)
    assert fault["loc"][2:] in {(), ("term",)}
