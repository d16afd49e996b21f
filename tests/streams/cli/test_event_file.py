import json

import pytest

from streams.cli.event_file import InvalidEntry, ValidEvent, read_entries, read_events
from streams.settings import Settings

SETTINGS = Settings()
SEGMENT = {"event_id": "e1", "occurred_at": "2026-11-23T10:00:00Z", "segment_id": "s1", "name": "Coffee"}
PRODUCT = {
    "event_id": "p1",
    "occurred_at": "2026-11-23T10:00:00Z",
    "product_id": "jam",
    "name": "Jam",
    "class_noun": "jar of jam",
    "images": [f"s3://b/{number}.png" for number in range(3)],
}


def read(text, topic=None):
    return read_events(text.encode() if isinstance(text, str) else text, SETTINGS, topic)


def lines_and_faults(text):
    invalid = [entry for entry in read(text) if isinstance(entry, InvalidEntry)]
    return [(entry.line, str(fault)) for entry in invalid for fault in entry.faults]


def test_one_object_over_several_lines():
    (event,) = read(json.dumps(SEGMENT, indent=2))
    assert (event.line, event.topic, event.key) == (1, "segment-updated", b"s1")


def test_array_elements_have_the_line_they_begin_on():
    text = f"\n[\n  {json.dumps(SEGMENT)},\n\n  {json.dumps(PRODUCT)}\n]\n"
    assert [(event.line, event.topic) for event in read(text)] == [(3, "segment-updated"), (5, "product-registered")]


def test_jsonl_with_empty_lines_and_a_byte_order_mark():
    text = b"\xef\xbb\xbf" + f"{json.dumps(SEGMENT)}\r\n\r\n{json.dumps(PRODUCT)}".encode()
    assert [event.line for event in read(text)] == [1, 3]


def test_joined_files_have_byte_order_marks_in_the_middle():
    text = f"\ufeff{json.dumps(SEGMENT)}\r\n\ufeff{json.dumps(PRODUCT)}\r\n"
    assert [event.line for event in read(text)] == [1, 2]


def test_a_broken_line_is_reported_and_the_next_one_is_read():
    entries = read(f'{{"a": }}\n{json.dumps(SEGMENT)}\n')
    assert [type(entry) for entry in entries] == [InvalidEntry, ValidEvent]
    assert "column 7" in str(entries[0].faults[0])


def test_a_broken_array_ends_the_reading():
    assert lines_and_faults(f"[{json.dumps(SEGMENT)}, oops, {json.dumps(SEGMENT)}]") == [
        (1, "value: is not JSON: Expecting value at column " + str(len(json.dumps(SEGMENT)) + 4))
    ]


def test_an_array_that_is_not_closed():
    assert lines_and_faults(f"[{json.dumps(SEGMENT)}\n") == [(2, "value: the array is not closed with ]")]


@pytest.mark.parametrize("text", ["", "  \n", "[]"])
def test_a_file_without_events(text):
    assert lines_and_faults(text) == [(1, "value: the file contains no event")]


@pytest.mark.parametrize("value", ["1", '"text"', "null", "[[]]"])
def test_a_value_that_is_not_an_object(value):
    assert lines_and_faults(value) == [(1, "value: must be a JSON object")]


def test_numbers_that_json_does_not_have():
    assert "NaN is not a number in JSON" in lines_and_faults('{"weight": NaN}')[0][1]


def test_bytes_that_are_not_utf_8_are_reported_with_their_place():
    assert [(entry.line, str(entry.faults[0])) for entry in read(b'{"a": 1}\n{"b": "\xff"}')] == [
        (2, "line 2: is not UTF-8 at byte 16 of the file")
    ]


def test_ids_or_the_topic_option_decide_the_topic():
    both = {**SEGMENT, "product_id": "jam"}
    assert read(json.dumps(both))[0].topic == "segment-updated"
    assert "--topic" in lines_and_faults('{"event_id": "e"}')[0][1]
    (entry,) = read(json.dumps(SEGMENT), topic="product-registered")
    assert "Field required" in str(entry.faults[0])


def test_the_decoder_of_the_worker_decides():
    assert lines_and_faults(json.dumps({**SEGMENT, "segment_id": "a/b"}))[0][1].startswith("segment_id: ")
    assert "more than" in lines_and_faults(json.dumps({**SEGMENT, "description": "x" * 300_000}))[0][1]


def test_unknown_fields_are_sent_and_reported():
    (event,) = read(json.dumps({**SEGMENT, "keyword": [], "copy": {"headline": "Hej"}}))
    assert [str(field) for field in event.unknown] == ["keyword (did you mean keywords?)"]
    assert "keyword" in json.loads(event.value)


def test_deep_nesting_is_a_fault_not_a_crash():
    assert len(list(read_entries("[" * 100_000))) == 1


def test_every_fault_of_an_event_is_reported():
    event = {**SEGMENT, "segment_id": "a/b", "occurred_at": "yesterday", "keywords": [{"term": "x", "weight": -1}]}
    faults = dict(fault.split(": ", 1) for _, fault in lines_and_faults(json.dumps(event)))
    assert sorted(faults) == ["keywords.0.weight", "occurred_at", "segment_id"]
    assert faults["occurred_at"].startswith("must be an ISO 8601 date and time")


def test_unknown_fields_are_found_at_any_depth():
    event = {
        **SEGMENT,
        "keyword": 1,
        "keywords": [{"term": "a"}, {"term": "b", "wieght": 3}],
        "interests": ["plain", {"term": "kawa", "english": "coffee"}],
        "brand": {"name": "B", "feature": ["x"]},
        "copy": {"headline": "H", "cta": "C"},
    }
    [valid] = read(json.dumps(event))
    assert [field.path for field in valid.unknown] == [
        "brand.feature", "copy.cta", "interests.1.english", "keyword", "keywords.1.wieght"
    ]  # fmt: skip
