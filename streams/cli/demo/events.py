"""Choose and check the events that the demo sends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streams.cli.demo.products import EXAMPLES, product_events
from streams.cli.event_file import InvalidEntry, ValidEvent, read_events
from streams.cli.terminal import InputError, counted
from streams.settings import Settings

SEGMENTS = ("coffee-enthusiast", "cooking-enthusiast", "healthy-vegan")


def demo_events(files: Sequence[Path], settings: Settings, *, products: bool) -> list[ValidEvent]:
    """Return the segments of `files`, or of docs/examples without files, and the events of the two products.

    Raises InputError if a file is missing or an event is invalid.
    """
    paths = files or tuple(EXAMPLES / f"{name}.json" for name in SEGMENTS)
    events: list[ValidEvent] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} is missing. Run the demo from a checkout, or name FILES of your own.")
        for entry in read_events(path.read_bytes(), settings, settings.topics.segment_updated):
            if isinstance(entry, InvalidEntry):
                raise InputError("\n".join(f"{path}, line {entry.line}: {fault}" for fault in entry.faults))
            events.append(entry)
    events += product_events(settings) if products else []
    repeated = len(events) - len({event.content.event_id for event in events})
    if repeated:
        verb = "repeats" if repeated == 1 else "repeat"
        raise InputError(f"{counted(repeated, 'event')} {verb} the event_id of another. Give every event its own.")
    return events
