"""Events from a file: one JSON object, an array of them, or an object a line (JSONL), told apart by looking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.base import Contract
from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.failures import InvalidEvent
from streams.kafka.delivery import decode, field_errors
from streams.messages import RawEvent
from streams.settings import Settings

Event = SegmentUpdated | ProductRegistered


@dataclass(frozen=True)
class FileEntry:
    """One JSON value of a file and the line it starts on, or why there is none."""

    line: int
    fields: object = None
    fault: InvalidEvent | None = None


@dataclass(frozen=True)
class Letter:
    """A valid event, ready to be sent. unknown: fields that the service will ignore."""

    line: int
    topic: str
    key: bytes
    value: bytes
    event: Event
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unfit:
    """An entry that must not be sent, and everything that is wrong with it."""

    line: int
    faults: tuple[InvalidEvent, ...]


def text_of(content: bytes) -> str:
    """Return the file's text. Raises InvalidEvent."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidEvent(field=f"line {line}", rule=f"is not UTF-8 at byte {error.start} of the file") from None


def entries(text: str) -> Iterator[FileEntry]:
    """Yield what the text holds. A broken JSONL line is skipped to its end; a broken array ends the reading."""
    position = _skip(text, 0)
    inside = text.startswith("[", position)
    position = _skip(text, position + 1) if inside else position
    while position < len(text) and not (inside and text[position] == "]"):
        line = text.count("\n", 0, position) + 1
        try:
            fields, end = _decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield FileEntry(line, fault=_not_json(error))
            if inside:
                return
            newline = text.find("\n", position)
            end = len(text) if newline < 0 else newline
        else:
            yield FileEntry(line, fields)
        position = _skip(text, end)
        if inside and text.startswith(",", position):
            position = _skip(text, position + 1)
    if inside and position >= len(text):
        yield FileEntry(text.count("\n") + 1, fault=InvalidEvent(field="value", rule="the array is not closed with ]"))


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _not_json(error: Exception) -> InvalidEvent:
    rule = (
        f"is not JSON: {error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    )
    return InvalidEvent(field="value", rule=rule)


def _no_such_number(name: str) -> float:
    raise ValueError(f"is not JSON: {name} is not a number in JSON")


_decoder = json.JSONDecoder(parse_constant=_no_such_number)


def letters(content: bytes, settings: Settings, topic: str | None = None) -> list[Letter | Unfit]:
    """Return every event of a file as it would be sent, or why it must not be. topic: None tells it by the fields."""
    try:
        text = text_of(content)
    except InvalidEvent as error:
        return [Unfit(int(str(error.fields["field"]).split()[1]), (error,))]
    found = [_letter(entry, settings, topic) for entry in entries(text)]
    return found or [Unfit(1, (InvalidEvent(field="value", rule="there is no event in this file"),))]


def _letter(entry: FileEntry, settings: Settings, topic: str | None) -> Letter | Unfit:
    if entry.fault is not None:
        return Unfit(entry.line, (entry.fault,))
    if not isinstance(entry.fields, dict):
        return Unfit(entry.line, (InvalidEvent(field="value", rule="must be a JSON object"),))
    try:
        target = topic or _topic_of(entry.fields, settings)
    except InvalidEvent as error:
        return Unfit(entry.line, (error,))
    return _checked(entry.line, entry.fields, target, settings)


def _topic_of(fields: dict[str, Any], settings: Settings) -> str:
    """Return where an event belongs: a segment event has a segment_id, a product event has only a product_id."""
    if "segment_id" in fields:
        return settings.topics.segment_updated
    if "product_id" in fields:
        return settings.topics.product_registered
    raise InvalidEvent(
        field="segment_id", rule="is missing, and there is no product_id either: name the kind with --topic"
    )


def _checked(line: int, fields: dict[str, Any], topic: str, settings: Settings) -> Letter | Unfit:
    """Return the event as its author wrote it, once the worker's own decoder takes it."""
    value = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    raw = RawEvent(source=Source(topic=topic, partition=0, offset=0), key=None, value=value)
    model: type[Event] = SegmentUpdated if topic == settings.topics.segment_updated else ProductRegistered
    try:
        event = decode(raw, model, settings.delivery.max_event_bytes)
    except InvalidEvent as error:
        found = _all_faults(value, model)
        of_bytes = not any(str(error).startswith(str(fault)) for fault in found)
        return Unfit(line, (error, *found) if of_bytes else tuple(found))
    key = event.segment_id if isinstance(event, SegmentUpdated) else event.product_id
    return Letter(line, topic, key.encode(), value, event, tuple(_unknown(fields, event)))


def _all_faults(value: bytes, model: type[Event]) -> list[InvalidEvent]:
    """Return every fault of the fields; faults of the bytes as such are no fields'."""
    try:
        model.model_validate_json(value.decode())
    except ValidationError as error:
        return field_errors(error)
    except ValueError:
        pass
    return []


def _unknown(fields: dict[str, Any], known: Contract, place: str = "") -> Iterator[str]:
    """Yield the fields that the service will ignore, at any depth: a misspelt one is easily overlooked."""
    names = {field.alias or name: name for name, field in type(known).model_fields.items()}
    names |= {name: name for name in type(known).model_fields}
    for key, value in sorted(fields.items()):
        if key not in names:
            yield f"{place}{key}"
            continue
        part = getattr(known, names[key])
        pairs = zip(value, part, strict=True) if isinstance(part, tuple) else [(value, part)]
        for number, (given, taken) in enumerate(pairs):
            if isinstance(taken, Contract) and isinstance(given, dict):
                inside = f"{key}.{number}" if isinstance(part, tuple) else key
                yield from _unknown(given, taken, f"{place}{inside}.")
