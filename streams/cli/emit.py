"""`creatives emit`: check events and publish them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import BinaryIO

    from streams.cli.event_file import Letter, Unfit
    from streams.settings import Settings


@click.command(
    short_help="Check events and publish them, confirmed.",
    epilog="""\b
Examples:
  creatives emit docs/examples/coffee-enthusiast.json
  creatives emit segments.jsonl --keep-going
  jq -c '.[]' segments.json | creatives emit -

An event has a segment_id (a segment) or only a product_id (a product). Sending an event again is harmless: the same
event_id gives the same pictures, and they are not made twice. Exit code 2: something in the file is wrong and nothing
was sent; 1: not all of it was sent.
""",
)
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@click.option("--topic", help="Where the events belong, if their fields do not say it.")
@click.option("--keep-going", is_flag=True, help="Send the good events of the file although others are refused.")
@click.option("--dry-run", is_flag=True, help="Only check the file.")
def emit(file: BinaryIO, topic: str | None, keep_going: bool, dry_run: bool) -> None:
    """Check events from FILE (- for standard input) and publish them, confirmed by the broker.

    FILE holds one JSON object, an array of objects, or an object a line (JSONL). All of it is checked before
    anything is sent.
    """
    from streams.cli.event_file import Letter, Unfit, letters
    from streams.cli.terminal import Wrong, reachable, read_settings

    settings = read_settings()
    inputs = (settings.topics.segment_updated, settings.topics.product_registered)
    if topic is not None and topic not in inputs:
        raise Wrong(f"The service does not read {topic}. It reads {inputs[0]} and {inputs[1]}.")
    found = letters(file.read(), settings, topic)
    unfit = [entry for entry in found if isinstance(entry, Unfit)]
    good = [entry for entry in found if isinstance(entry, Letter)]
    _complain(getattr(file, "name", "<stdin>"), unfit, good)
    if unfit and not keep_going:
        hint = "Nothing was sent. Mend the file, or send the rest with --keep-going."
        raise Wrong(f"{len(unfit)} of {len(found)} events are refused. {hint}")
    if not dry_run and good:
        asyncio.run(_send(good, reachable(settings)))
    if unfit:
        raise click.ClickException(f"{len(unfit)} of {len(found)} events were refused.")
    if dry_run:
        click.echo(f"{len(good)} events are good; nothing was sent.", err=True)


def _complain(name: str, unfit: list[Unfit], good: list[Letter]) -> None:
    for entry in unfit:
        for fault in entry.faults:
            click.echo(f"{name}, line {entry.line}: {fault}", err=True)
    for letter in good:
        if letter.unknown:
            click.echo(f"{name}, line {letter.line}: not known here, ignored: {', '.join(letter.unknown)}", err=True)


async def _send(letters: list[Letter], settings: Settings) -> None:
    from streams.cli.producer import send

    sent = await send(letters, settings)
    lost = [entry for entry in sent if entry.fault is not None]
    for entry in sent:
        place = f"{entry.letter.topic}[{entry.partition}]@{entry.offset}"
        click.echo(f"{entry.letter.event.event_id} {entry.fault or place}", err=entry.fault is not None)
    if lost:
        raise click.ClickException(f"{len(lost)} of {len(sent)} events are not confirmed; emit the file again.")
