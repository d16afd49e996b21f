"""`creatives emit`: check events and publish them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import BinaryIO

    from streams.cli.event_file import ValidEvent
    from streams.settings import Settings


@click.command(
    short_help="Check events and publish them.",
    epilog="""\b
Examples:
  creatives emit docs/examples/coffee-enthusiast.json
  creatives emit --dry-run segments.jsonl           check the file, show its prompts and send nothing
  creatives emit --strict segments.jsonl            send nothing if a field is unknown, perhaps misspelt
  creatives emit --keep-going segments.jsonl        send the valid events, report the others
  jq -c '.[]' segments.json | creatives emit -

An event with a segment_id goes to the topic of segments; an event with only a product_id goes to the topic of
products. You can send an event twice: the service answers it with the same pictures and does not generate them again.
If you correct it under the same event_id, it gets new pictures.

\b
Exit codes:
  0 the broker confirmed every event
  1 an event was not sent, or the broker did not confirm it
  2 the file holds an invalid event (with --strict also an unknown field) and nothing was sent, or an option or
    setting is wrong
""",
)
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option("--topic", help="Send all events to this input topic. Without it, the fields of an event decide.")
@click.option("--keep-going", is_flag=True, help="Send the valid events even if others in the file are invalid.")
@click.option("--strict", is_flag=True, help="Count unknown fields as faults. The service ignores them.")
@click.option("--dry-run", is_flag=True, help="Check the file, show the prompts and send nothing. Needs no broker.")
def emit(file: BinaryIO, topic: str | None, keep_going: bool, strict: bool, dry_run: bool) -> None:
    """Check the events in FILE (- for standard input), publish them and wait until the broker confirms each one.

    FILE holds one JSON object, an array of objects, or one object per line (JSONL). The command checks the whole
    file before it sends anything.
    """
    from streams.cli.event_file import ValidEvent, read_events
    from streams.cli.prompts import report_faults, show_prompts
    from streams.cli.terminal import InputError, read_settings, require_broker

    settings = read_settings()
    inputs = (settings.topics.segment_updated, settings.topics.product_registered)
    if topic is not None and topic not in inputs:
        raise InputError(f"The service does not read {topic}. It reads {inputs[0]} and {inputs[1]}.")
    entries = read_events(file.read(), settings, topic)
    valid = [entry for entry in entries if isinstance(entry, ValidEvent) and not (strict and entry.unknown)]
    invalid = len(entries) - len(valid)
    report_faults(getattr(file, "name", "<stdin>"), entries, strict=strict)
    if dry_run:
        show_prompts(valid, settings)
    if invalid and not keep_going:
        advice = "Fix the file, or send only the valid events with --keep-going."
        raise InputError(f"{invalid} of {len(entries)} events are invalid. Nothing was sent. {advice}")
    if not dry_run and valid:
        asyncio.run(_send(valid, require_broker(settings)))
    if invalid:
        raise click.ClickException(f"{invalid} of {len(entries)} events are invalid and were not sent.")
    if dry_run:
        click.echo(f"Valid events: {len(valid)}. Nothing was sent.", err=True)


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
