"""`creatives emit`: check events and publish them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import BinaryIO

    from streams.cli.event_file import InvalidEntry, ValidEvent
    from streams.settings import Settings


@click.command(
    short_help="Check events and publish them.",
    epilog="""\b
Examples:
  creatives emit docs/examples/coffee-enthusiast.json
  creatives emit --dry-run segments.jsonl           check the file and send nothing
  creatives emit --keep-going segments.jsonl        send the valid events, report the others
  jq -c '.[]' segments.json | creatives emit -

An event with a segment_id goes to the topic of segments; an event with only a product_id goes to the topic of
products. You can send an event twice: the service answers a repeated event_id with the same pictures and does not
generate them again.

\b
Exit codes:
  0 the broker confirmed every event
  1 an event was not sent, or the broker did not confirm it
  2 the file holds an invalid event and nothing was sent, or an option or setting is wrong
""",
)
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option("--topic", help="Send all events to this input topic. Without it, the fields of an event decide.")
@click.option("--keep-going", is_flag=True, help="Send the valid events even if others in the file are invalid.")
@click.option("--dry-run", is_flag=True, help="Check the file and send nothing.")
def emit(file: BinaryIO, topic: str | None, keep_going: bool, dry_run: bool) -> None:
    """Check the events in FILE (- for standard input), publish them and wait until the broker confirms each one.

    FILE holds one JSON object, an array of objects, or one object per line (JSONL). The command checks the whole
    file before it sends anything.
    """
    from streams.cli.event_file import InvalidEntry, ValidEvent, read_events
    from streams.cli.terminal import InputError, read_settings, require_broker

    settings = read_settings()
    inputs = (settings.topics.segment_updated, settings.topics.product_registered)
    if topic is not None and topic not in inputs:
        raise InputError(f"The service does not read {topic}. It reads {inputs[0]} and {inputs[1]}.")
    entries = read_events(file.read(), settings, topic)
    invalid = [entry for entry in entries if isinstance(entry, InvalidEntry)]
    valid = [entry for entry in entries if isinstance(entry, ValidEvent)]
    _report(getattr(file, "name", "<stdin>"), invalid, valid)
    if invalid and not keep_going:
        advice = "Fix the file, or send only the valid events with --keep-going."
        raise InputError(f"{len(invalid)} of {len(entries)} events are invalid. Nothing was sent. {advice}")
    if not dry_run and valid:
        asyncio.run(_send(valid, require_broker(settings)))
    if invalid:
        raise click.ClickException(f"{len(invalid)} of {len(entries)} events are invalid and were not sent.")
    if dry_run:
        click.echo(f"Valid events: {len(valid)}. Nothing was sent.", err=True)


def _report(name: str, invalid: list[InvalidEntry], valid: list[ValidEvent]) -> None:
    for entry in invalid:
        for fault in entry.faults:
            click.echo(f"{name}, line {entry.line}: {fault}", err=True)
    for event in valid:
        if event.unknown_fields:
            unknown = ", ".join(event.unknown_fields)
            click.echo(f"{name}, line {event.line}: unknown fields, ignored: {unknown}", err=True)


async def _send(events: list[ValidEvent], settings: Settings) -> None:
    from streams.cli.event_sender import send_events

    results = await send_events(events, settings)
    unconfirmed = [result for result in results if result.error is not None]
    for result in results:
        place = f"{result.event.topic}[{result.partition}]@{result.offset}"
        click.echo(f"{result.event.content.event_id} {result.error or place}", err=result.error is not None)
    if unconfirmed:
        raise click.ClickException(
            f"The broker did not confirm {len(unconfirmed)} of {len(results)} events. Emit the file again."
        )
