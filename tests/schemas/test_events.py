"""Phrases are plain strings or objects, and keep the form in which they came."""

import json

import pytest
from pydantic import ValidationError

from schemas.events import Brand, ProductRegistered, SegmentUpdated

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


def product(uri):
    fields = {
        "event_id": "e",
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": "p",
        "name": "n",
        "class_noun": "jar",
    }
    return ProductRegistered.model_validate_json(json.dumps({**fields, "images": [uri] * 3}))


@pytest.mark.parametrize(
    "name", ["my jar.jpg", "słoik dżemu.jpg", "a+b.jpg", "100%.jpg", "jar..final.jpg", "3\u202fPM.png"]
)
def test_a_photo_is_named_by_its_key_as_it_is(name):
    assert product(f"s3://creatives/photos/{name}").images[0] == f"s3://creatives/photos/{name}"


@pytest.mark.parametrize(
    "uri", ["https://photos.example/my jar.jpg", "s3://b/a\nb", "s3://b/a\n", "s3://", "ftp://x/y", "x"]
)
def test_a_photo_that_is_no_address_is_refused(uri):
    with pytest.raises(ValidationError):
        product(uri)
