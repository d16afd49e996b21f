"""Decodes raw messages into events, within the contract and within what this deployment allows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.base import InputEvent
from schemas.events import ProductRegistered, SegmentUpdated
from streams.failures import InvalidEvent, UnreadableRecord
from streams.messages import RawEvent
from streams.settings import Settings

Event = TypeVar("Event", bound=InputEvent)


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class EventLimits:
    """What an event may ask of this deployment. clock: returns the current time, with its offset."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now

    @property
    def latest(self) -> datetime:
        """The latest `occurred_at` that is accepted now."""
        return self.clock() + timedelta(seconds=self.settings.delivery.max_future)

    def check(self, event: InputEvent) -> None:
        """Raise InvalidEvent, which names field and limit, if the event asks for more."""
        if isinstance(event, SegmentUpdated):
            studio = self.settings.studio
            _check_number("candidates", event.candidates, studio.max_candidates, "STUDIO__MAX_CANDIDATES")
            _check_number("images", event.images, studio.max_images, "STUDIO__MAX_IMAGES")
        if isinstance(event, ProductRegistered):
            _check_number("steps", event.steps, self.settings.training.max_steps, "TRAINING__MAX_STEPS")
        if isinstance(event, SegmentUpdated | ProductRegistered) and event.occurred_at > self.latest:
            seconds = self.settings.delivery.max_future
            rule = f"lies more than {seconds:g} s ahead of the worker's clock (CREATIVES_DELIVERY__MAX_FUTURE)"
            raise InvalidEvent(field="occurred_at", rule=rule)


def decode(raw: RawEvent, model: type[Event], limits: EventLimits) -> Event:
    """Return the event. Raises InvalidEvent, which names field and rule, or UnreadableRecord, and nothing else."""
    if raw.unreadable is not None:
        raise UnreadableRecord(reason=raw.unreadable)
    if raw.value is None:
        raise InvalidEvent(field="value", rule="must not be null (a tombstone is not an event)")
    max_bytes = limits.settings.delivery.max_event_bytes
    if len(raw.value) > max_bytes:
        raise InvalidEvent(field="value", rule=f"{len(raw.value)} bytes are more than the {max_bytes} allowed")
    try:
        event = model.model_validate(_parse(raw.value))
    except ValidationError as error:
        raise _first_error(error) from None
    limits.check(event)
    return event


def _check_number(field: str, value: int | None, most: int, setting: str) -> None:
    if value is not None and value > most:
        raise InvalidEvent(field=field, rule=f"{value} is more than the {most} that CREATIVES_{setting} allows")


def _parse(value: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object. Raises InvalidEvent.

    pydantic's own parser would build the objects in an event again for each error: 130,000 lists took 0.8 s.
    """
    try:
        fields = json.loads(value.decode("utf-8"), parse_constant=_reject_constant)
    except UnicodeDecodeError as error:
        raise InvalidEvent(field="value", rule=f"is not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(field="value", rule=f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidEvent(field="value", rule="must be a JSON object")
    return fields


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _first_error(error: ValidationError) -> InvalidEvent:
    """Return the first broken field and its rule, with the number of further ones."""
    first, *others = field_errors(error)
    more = f" (and {len(others)} more)" if others else ""
    return InvalidEvent(field=first.fields["field"], rule=f"{first.fields['rule']}{more}")


def field_errors(error: ValidationError) -> list[InvalidEvent]:
    """Return every broken field with its rule, at least one."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    names = [".".join(str(part) for part in problem["loc"]) or "value" for problem in problems]
    return [
        InvalidEvent(field=name[:200], rule=problem["msg"].removeprefix("Value error, "))
        for name, problem in zip(names, problems, strict=True)
    ]
