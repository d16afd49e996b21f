"""Read and check events from a file: one JSON object, an array of objects, or one object per line (JSONL)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.cli.unknown_fields import UnknownField, unknown_fields
from streams.failures import InvalidEvent
from streams.kafka.decoding import EventLimits, decode, field_errors
from streams.messages import RawEvent
from streams.settings import Settings

Event = SegmentUpdated | ProductRegistered


@dataclass(frozen=True)
class FileEntry:
    """One JSON value of a file, or the fault that prevents reading it. line: the line it starts on."""

    line: int
    fields: object = None
    fault: InvalidEvent | None = None


@dataclass(frozen=True)
class ValidEvent:
    """An event that the worker will accept, ready to send. unknown: fields that the worker will ignore."""

    line: int
    topic: str
    key: bytes
    value: bytes
    content: Event
    unknown: tuple[UnknownField, ...] = ()


@dataclass(frozen=True)
class InvalidEntry:
    """An entry that must not be sent, with all its faults."""

    line: int
    faults: tuple[InvalidEvent, ...]
    unknown: tuple[UnknownField, ...] = ()


def read_events(content: bytes, settings: Settings, topic: str | None = None) -> list[ValidEvent | InvalidEntry]:
    """Return every entry of a file, checked. topic: the topic of all events; None derives it from their fields."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        rule = f"is not UTF-8 at byte {error.start} of the file"
        return [InvalidEntry(line, (InvalidEvent(field=f"line {line}", rule=rule),))]
    events = [_check_entry(entry, settings, topic) for entry in read_entries(text)]
    return events or [InvalidEntry(1, (InvalidEvent(field="value", rule="the file contains no event"),))]


def read_entries(text: str) -> Iterator[FileEntry]:
    """Yield the JSON values of a file, or the elements if the file is an array.

    Positions drive the reading, not `json.loads`: array elements need line numbers, and values may span lines.
    """
    start = _skip_space(text, 0)
    return _array_elements(text, start) if text.startswith("[", start) else _values(text, start)


def _values(text: str, position: int) -> Iterator[FileEntry]:
    """Yield values that follow each other. A broken value is skipped to the end of its line."""
    while position < len(text):
        entry, end = _read_value(text, position)
        yield entry
        if entry.fault is not None:
            newline = text.find("\n", position)
            end = len(text) if newline < 0 else newline
        position = _skip_space(text, end)


def _array_elements(text: str, start: int) -> Iterator[FileEntry]:
    """Yield the elements of the array at `start`. A broken element ends the reading: the next one cannot be found."""
    position = _skip_space(text, start + 1)
    while position < len(text) and text[position] != "]":
        entry, end = _read_value(text, position)
        yield entry
        if entry.fault is not None:
            return
        position = _skip_space(text, end)
        if text.startswith(",", position):
            position = _skip_space(text, position + 1)
    if position >= len(text):
        yield FileEntry(text.count("\n") + 1, fault=InvalidEvent(field="value", rule="the array is not closed with ]"))


def _read_value(text: str, position: int) -> tuple[FileEntry, int]:
    """Return the value at `position` and the position after it."""
    line = text.count("\n", 0, position) + 1
    try:
        fields, end = _decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        rule = f"is not JSON: {error.msg} at column {error.colno}"
        return FileEntry(line, fault=InvalidEvent(field="value", rule=rule)), position
    except (ValueError, RecursionError) as error:
        return FileEntry(line, fault=InvalidEvent(field="value", rule=str(error))), position
    return FileEntry(line, fields), end


_SPACE = re.compile(r"[ \t\r\n\ufeff]*")  # joined files have a byte order mark in the middle


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _reject_constant(name: str) -> float:
    raise ValueError(f"is not JSON: {name} is not a number in JSON")


_decoder = json.JSONDecoder(parse_constant=_reject_constant)


def _check_entry(entry: FileEntry, settings: Settings, topic: str | None) -> ValidEvent | InvalidEntry:
    if entry.fault is not None:
        return InvalidEntry(entry.line, (entry.fault,))
    if not isinstance(entry.fields, dict):
        return InvalidEntry(entry.line, (InvalidEvent(field="value", rule="must be a JSON object"),))
    try:
        target = topic or _topic_of(entry.fields, settings)
    except InvalidEvent as error:
        return InvalidEntry(entry.line, (error,))
    return _check_fields(entry.line, entry.fields, target, settings)


def _topic_of(fields: dict[str, Any], settings: Settings) -> str:
    """Return the topic of an event: a segment event has a segment_id, a product event has only a product_id."""
    if "segment_id" in fields:
        return settings.topics.segment_updated
    if "product_id" in fields:
        return settings.topics.product_registered
    raise InvalidEvent(field="segment_id", rule="is missing, and so is product_id; name the topic with --topic")


def _check_fields(line: int, fields: dict[str, Any], topic: str, settings: Settings) -> ValidEvent | InvalidEntry:
    """Return the event unchanged if the worker's own decoder accepts it."""
    value = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    raw = RawEvent(source=Source(topic=topic, partition=0, offset=0), key=None, value=value)
    model: type[Event] = SegmentUpdated if topic == settings.topics.segment_updated else ProductRegistered
    unknown = tuple(unknown_fields(fields, model))
    try:
        event = decode(raw, model, EventLimits(settings))
    except InvalidEvent as error:
        field_faults = _field_faults(fields, model)
        concerns_field = any(str(error).startswith(str(fault)) for fault in field_faults)
        faults = tuple(field_faults) if concerns_field else (error, *field_faults)
        return InvalidEntry(line, faults, unknown)
    key = event.segment_id if isinstance(event, SegmentUpdated) else event.product_id
    return ValidEvent(line, topic, key.encode(), value, event, unknown)


def _field_faults(fields: dict[str, Any], model: type[Event]) -> list[InvalidEvent]:
    """Return every fault of the fields. A fault of the bytes, such as their number, belongs to no field."""
    try:
        model.model_validate(fields)
    except ValidationError as error:
        return field_errors(error)
    return []
