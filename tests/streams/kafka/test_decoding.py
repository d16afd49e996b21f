import contextlib
import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.failures import InvalidEvent
from streams.kafka import decoding
from streams.kafka.decoding import EventLimits, decode
from streams.messages import RawEvent
from streams.settings import Settings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EVENT = {
    "event_id": "e-1",
    "occurred_at": "2026-11-23T10:00:00Z",
    "segment_id": "coffee",
    "name": "coffee enthusiast",
    "keywords": [{"term": "espresso", "weight": 0.9}],
}
PRODUCT = {
    "event_id": "p-1",
    "occurred_at": "2026-11-23T10:00:00Z",
    "product_id": "jam",
    "name": "Jam",
    "class_noun": "jar of jam",
    "images": [f"s3://b/photos/{number}.png" for number in range(3)],
}


def limits(**groups):
    """Return limits with changed settings at NOW."""
    return EventLimits(Settings.model_validate(groups), lambda: NOW)


LIMITS = limits()


def bytes_limit(size):
    return limits(delivery={"max_event_bytes": max(1024, size)})


def raw(value=b"{}", offset=7):
    return RawEvent(Source(topic="segment-updated", partition=1, offset=offset), b"coffee", value)


def event(**changes):
    return raw(json.dumps(EVENT | changes).encode())


def test_the_size_limit_is_inclusive():
    largest = event(description="x" * 1024)
    assert decode(largest, SegmentUpdated, bytes_limit(len(largest.value))).segment_id == "coffee"
    with pytest.raises(InvalidEvent, match="bytes are more than"):
        decode(largest, SegmentUpdated, bytes_limit(len(largest.value) - 1))


def test_a_good_event_decodes():
    decoded = decode(event(), SegmentUpdated, LIMITS)
    assert decoded.segment_id == "coffee"
    assert decoded.keywords[0].term == "espresso"


@pytest.mark.parametrize(
    ("message", "field", "rule"),
    [
        (raw(None), "value", "null"),
        (raw(b"x" * 900_000), "value", "900000 bytes are more than the 262144 allowed"),
        (raw(b'{"name": "\xff"}'), "value", "not UTF-8 at byte 10"),
        (raw(b"{"), "value", "not JSON"),
        (raw(b""), "value", "not JSON"),
        (raw(b"\xef\xbb\xbf{}"), "value", "BOM"),
        (raw(b"[" * 100_000), "value", "not JSON"),
        (raw(b'{"weight": NaN}'), "value", "NaN is not a JSON number"),
        (raw(b"[1]"), "value", "must be a JSON object"),
        (raw(b"null"), "value", "must be a JSON object"),
        (raw(b"{}"), "event_id", "required"),
        (event(segment_id="../../etc/passwd"), "segment_id", "pattern"),
        (event(segment_id="a..b"), "segment_id", "'..'"),
        (event(segment_id="a/b"), "segment_id", "pattern"),
        (event(product_id="x\u0000"), "product_id", "pattern"),
        (event(name="☕☕"), "name", "letter"),
        (event(occurred_at="yesterday"), "occurred_at", "ISO 8601"),
        (event(occurred_at="2026-11-23"), "occurred_at", "ISO 8601"),
        (event(occurred_at="2026-11-23T10:00:00"), "occurred_at", "timezone"),
        (event(occurred_at=1700000000), "occurred_at", "not a number"),
        (event(occurred_at="2026-13-45T99:00:00Z"), "occurred_at", "valid datetime"),
        (event(keywords=[{"term": "a"}] * 10_000), "keywords", "at most 200"),
        (event(keywords=[{"term": "a", "weight": -1}]), "keywords.0.weight", "greater than or equal to 0"),
        (event(keywords=[{"term": "a", "weight": True}]), "keywords.0.weight", "number"),
        (event(candidates=2, images=3), "value", "images must not be more than candidates"),
        (event(formats=["square", "square"]), "formats", "twice"),
        (event(schema_version=2), "schema_version", "1"),
        (event(seed=2**53), "seed", "9007199254740991"),
    ],
)
def test_bad_input_names_field_and_rule(message, field, rule):
    with pytest.raises(InvalidEvent) as refusal:
        decode(message, SegmentUpdated, LIMITS)
    assert refusal.value.fields["field"] == field
    assert rule in str(refusal.value)


def test_further_problems_are_counted():
    missing = len(EVENT) - 1  # keywords may be absent
    with pytest.raises(InvalidEvent, match=rf"\(and {missing - 1} more\)$"):
        decode(raw(b"{}"), SegmentUpdated, LIMITS)
    with pytest.raises(InvalidEvent) as alone:
        decode(event(name=5), SegmentUpdated, LIMITS)
    assert "more" not in str(alone.value)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_arbitrary_bytes_are_invalid_and_raise_nothing_else(value):
    with pytest.raises(InvalidEvent):
        decode(raw(value), SegmentUpdated, LIMITS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*EVENT, "brand", "copy", "formats", "seed", "images"]), json_values))
def test_arbitrary_fields_decode_or_are_invalid(changes):
    with contextlib.suppress(InvalidEvent):
        assert decode(event(**changes), SegmentUpdated, LIMITS).segment_id


def test_a_custom_rule_keeps_its_wording() -> None:
    with pytest.raises(InvalidEvent) as refusal:
        decode(raw(json.dumps({**EVENT, "occurred_at": 7}).encode()), SegmentUpdated, LIMITS)
    assert str(refusal.value) == "occurred_at: must be a string such as 2026-11-23T10:00:00Z, not a number"


def decodes(message, model=SegmentUpdated, allowed=LIMITS):
    try:
        return decode(message, model, allowed) is not None
    except InvalidEvent:
        return False


NUMBERS = ["8", "8.0", "8e0", "0.8e1", "8.5", "-8", "-0.0", "0", "true", "false", '"8"', "[8]", "{}", "1e400", "null"]
FIELDS = ["schema_version", "candidates", "images", "seed", "weight", "steps", "product seed"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", [*NUMBERS, "1", "1.0", "2", "64", "65", "9007199254740991", "9007199254740992"])
def test_service_and_json_schema_agree_on_numbers(field, number):
    """JSON Schema counts 8.0 as an integer, and true as none."""
    product = field in {"steps", "product seed"}
    model, fields = (ProductRegistered, PRODUCT) if product else (SegmentUpdated, EVENT)
    name = field.removeprefix("product ")
    changed = {"keywords": [{"term": "a", "weight": "?"}]} if field == "weight" else {name: "?"}
    text = json.dumps(fields | changed).replace('"?"', number)
    schema = jsonschema.Draft202012Validator(model.model_json_schema(by_alias=True))
    by_schema = schema.is_valid(json.loads(text)) and "1e400" not in number  # Python reads that as infinity
    assert decodes(raw(text.encode()), model) == by_schema


@pytest.mark.parametrize("formats", [["square"], ["square", "square"], [], ["round"], ["square", "story"] * 3])
def test_service_and_json_schema_agree_on_formats(formats):
    schema = jsonschema.Draft202012Validator(SegmentUpdated.model_json_schema(by_alias=True))
    assert decodes(event(formats=formats)) == schema.is_valid(EVENT | {"formats": formats})


def test_whole_numbers_may_have_a_fraction_of_zero():
    decoded = decode(event(schema_version=1.0, candidates=8.0, seed=3.0), SegmentUpdated, LIMITS)
    assert (decoded.schema_version, decoded.candidates, decoded.seed) == (1, 8, 3)
    assert [type(value) for value in (decoded.schema_version, decoded.candidates, decoded.seed)] == [int] * 3


LISTS = {"keywords": 200, "interests": 100, "formats": 4}


@pytest.mark.parametrize("bad", [0, {}, [], None])
@pytest.mark.parametrize("name", [*LISTS, "features", "photos"])
def test_a_list_that_is_too_long_is_one_error_however_bad_its_entries_are(name, bad):
    model, changed = SegmentUpdated, {name: [bad] * 5_000}
    if name == "features":
        changed = {"brand": {"name": "B", "features": [bad] * 5_000}}
    if name == "photos":
        model, changed = ProductRegistered, {"images": [bad] * 5_000}
    base = PRODUCT if model is ProductRegistered else EVENT
    with pytest.raises(InvalidEvent, match=r"must have at most \d+ entries, not 5000$") as refusal:
        decode(raw(json.dumps(base | changed).encode()), model, LIMITS)
    assert "more)" not in str(refusal.value)


@pytest.mark.parametrize(("name", "most"), LISTS.items())
def test_the_longest_list_is_read(name, most):
    entries = ["square", "portrait", "landscape", "story"] if name == "formats" else [f"a{n}" for n in range(most)]
    assert len(getattr(decode(event(**{name: entries}), SegmentUpdated, LIMITS), name)) == most


@pytest.mark.parametrize(
    ("ahead", "accepted"), [(timedelta(0), True), (timedelta(days=1), True), (timedelta(days=1, seconds=1), False)]
)
def test_dates_may_lie_a_day_ahead_of_the_clock(ahead, accepted):
    date = (NOW + ahead).isoformat()
    assert decodes(event(occurred_at=date)) == accepted
    assert decodes(raw(json.dumps(PRODUCT | {"occurred_at": date}).encode()), ProductRegistered) == accepted


@pytest.mark.parametrize("date", ["9999-12-31T23:59:59.9999999-05:00", "9999-12-31T23:59:59Z"])
def test_a_date_in_the_far_future_is_refused_by_name(date):
    with pytest.raises(InvalidEvent, match="occurred_at: lies more than 86400 s ahead of the worker's clock"):
        decode(event(occurred_at=date), SegmentUpdated, LIMITS)
    assert not decodes(event(occurred_at="2026-11-23T13:00:01Z"), allowed=limits(delivery={"max_future": 3600}))


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+14:00", "1900-01-01T00:00:00+01:24"])
def test_the_first_dates_of_the_calendar_are_accepted(date):
    assert decodes(event(occurred_at=date))


@pytest.mark.parametrize(
    ("field", "value", "group", "setting"),
    [
        ("candidates", 33, "studio", "max_candidates"),
        ("images", 5, "studio", "max_images"),
        ("steps", 2001, "training", "max_steps"),
    ],
)
def test_the_operator_caps_what_an_event_may_ask_for(field, value, group, setting):
    model, base = (ProductRegistered, PRODUCT) if field == "steps" else (SegmentUpdated, EVENT)
    message, allowed = raw(json.dumps(base | {field: value}).encode()), limits(**{group: {setting: value - 1}})
    with pytest.raises(InvalidEvent) as refusal:
        decode(message, model, allowed)
    name = f"CREATIVES_{group}__{setting}".upper()
    assert str(refusal.value) == f"{field}: {value} is more than the {value - 1} that {name} allows"
    assert decodes(message, model, limits(**{group: {setting: value}}))


def test_training_steps_are_capped_unless_the_operator_says_otherwise():
    message = raw(json.dumps(PRODUCT | {"steps": 100_000}).encode())
    with pytest.raises(InvalidEvent, match="steps: 100000 is more than the 5000"):
        decode(message, ProductRegistered, LIMITS)


def test_a_bad_event_is_parsed_once_whatever_is_wrong_with_it(monkeypatch):
    """pydantic's parser would build every list again for each error that it reports."""
    parsed = []

    def loads(text, **options):
        parsed.append(text)
        return json.JSONDecoder(**options).decode(text)

    monkeypatch.setattr(decoding.json, "loads", loads)
    monkeypatch.setattr(SegmentUpdated, "model_validate_json", None)
    with pytest.raises(InvalidEvent, match=r"\(and 2 more\)"):
        decode(raw(json.dumps({"name": 0, "event_id": "e", "unknown": [[]] * 1000}).encode()), SegmentUpdated, LIMITS)
    assert len(parsed) == 1
