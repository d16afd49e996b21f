"""The decoder turns arbitrary bytes into an event or into InvalidEvent with field and rule, and nothing else."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import Contract
from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.failures import InvalidEvent
from streams.kafka.decoding import EventLimits, decode
from streams.messages import RawEvent
from streams.settings import Settings

MODELS = (SegmentUpdated, ProductRegistered)
LIMIT = 64 * 1024
LIMITS = EventLimits(Settings.model_validate({"delivery": {"max_event_bytes": LIMIT}}))
LARGE = EventLimits(Settings.model_validate({"delivery": {"max_event_bytes": 10 * LIMIT}}))
SEGMENT = {
    "schema_version": 1, "event_id": "e-1", "occurred_at": "2026-11-23T10:00:00Z", "segment_id": "coffee-enthusiast",
    "name": "Coffee enthusiast", "description": "Writes about beans", "language": "en",
    "keywords": [{"term": "espresso", "weight": 3.5}, {"term": "kawa", "en": "coffee"}], "interests": ["cafes"],
    "brand": {"name": "Roast", "features": ["organic"]}, "product_id": "jar-1", "copy": {"headline": "Wake up"},
    "formats": ["square", "story"], "candidates": 8, "images": 2, "seed": 7,
}  # fmt: skip
PRODUCT = {
    "event_id": "p-1", "occurred_at": "2026-11-23T10:00:00Z", "product_id": "jar-1", "name": "A jar of jam",
    "class_noun": "jar", "images": ["s3://creatives/a.png", "s3://creatives/b.png", "https://example.org/c.png"],
    "method": "textual_inversion", "steps": 100, "seed": 1,
}  # fmt: skip
NASTY = [
    None, True, -1, 0, 2**63, 2**64, 1e308, -0.0, "", " ", "..", "../../x", "a/b", "\x00", "\ud800", "😀" * 50, "A" * 5000,
    [], {}, [[]], [None] * 300, {"": None}, "2026-13-40T99:99:99Z", "2026-11-23", 1763892000, "file:///etc/passwd",
    "http://169.254.169.254/latest", "s3://other-bucket/../x",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=20,
)


def decode_or_error(value: bytes | None, model: type[Contract]) -> Contract | InvalidEvent:
    """Return the event or the InvalidEvent. Any other error fails the test."""
    raw = RawEvent(Source(topic="segment-updated", partition=0, offset=0), key=None, value=value)
    try:
        event = decode(raw, model, LIMITS)
    except InvalidEvent as error:
        end = error
    else:
        end = None
    if end is not None:
        assert end.fields["field"], "the error names the field"
        assert end.fields["rule"], "the error names the rule"
        assert "\n" not in str(end.fields["field"])
        return end
    assert decode(RawEvent(raw.source, None, event.to_json()), model, LARGE) == event, "the canonical form decodes"
    return event


@given(st.binary(max_size=400))
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes(value: bytes) -> None:
    for model in MODELS:
        decode_or_error(value, model)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_arbitrary_json(value: object) -> None:
    for model in MODELS:
        decode_or_error(json.dumps(value).encode("utf-8", "surrogatepass"), model)


@given(st.sampled_from(sorted(SEGMENT)), JSON)
@settings(max_examples=500, deadline=None)
def test_a_good_segment_with_one_field_replaced(field: str, value: object) -> None:
    changed = json.dumps({**SEGMENT, field: value}).encode("utf-8", "surrogatepass")
    end = decode_or_error(changed, SegmentUpdated)
    if isinstance(end, InvalidEvent) and "value" not in str(end.fields["field"]):
        assert str(end.fields["field"]).split(".")[0] == field, "the error names the broken field"


def test_unchanged_events_are_valid() -> None:
    for good, model in ((SEGMENT, SegmentUpdated), (PRODUCT, ProductRegistered)):
        assert isinstance(decode_or_error(json.dumps(good).encode(), model), model)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "value"), (b"", "value"), (b"\xff\xfe", "value"), (b"{", "value"), (b"[]", "value"), (b"NaN", "value"),
        (b'"text"', "value"), (b"[" * 100_000, "value"), (b'{"a":' * 20_000, "value"), (b" " * (LIMIT + 1), "value"),
        (b"1" * 10_000, "value"), (b'{"event_id": 1' + b"0" * 5000 + b"}", "value"),
    ],
)  # fmt: skip
def test_values_that_are_not_an_event(value: bytes | None, field: str) -> None:
    for model in MODELS:
        end = decode_or_error(value, model)
        assert isinstance(end, InvalidEvent)
        assert end.fields["field"] == field


def test_100_000_mutated_events() -> None:
    """Valid events with bytes replaced, cut or doubled, or with values replaced by nasty ones."""
    chance, count = random.Random(20261123), 100_000
    ends = {InvalidEvent: 0, SegmentUpdated: 0, ProductRegistered: 0}
    for _ in range(count):
        good, model = chance.choice(((SEGMENT, SegmentUpdated), (PRODUCT, ProductRegistered)))
        ends[type(decode_or_error(mutated(good, chance), model))] += 1
    assert ends[InvalidEvent] > count / 10
    assert ends[SegmentUpdated] > count / 100


def mutated(good: dict, chance: random.Random) -> bytes:
    event = dict(good)
    for _ in range(chance.randrange(3)):
        event[chance.choice(list(event))] = chance.choice(NASTY)
    if chance.random() < 0.2:
        event.pop(chance.choice(list(event)), None)
    value = bytearray(json.dumps(event, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass"))
    for _ in range(chance.choice((0, 0, 1, 2, 8))):
        place = chance.randrange(len(value) + 1)
        match chance.randrange(4):
            case 0:
                value[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del value[place : place + chance.randrange(1, 20)]
            case 2:
                value[place:place] = value[max(0, place - 20) : place]
            case _:
                value[place:place] = chance.choice(
                    (b"\x00", b'"', b"{", b"}", b"]", b"\xed\xa0\x80", b"1e999", b"NaN", b"//")
                )
    return bytes(value)
