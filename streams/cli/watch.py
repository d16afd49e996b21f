"""`creatives watch`: show the events of a topic as they arrive."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.cli.topic_reader import TopicMessage, TopicReader
    from streams.settings import Settings

MAX_ROWS = 200  # of the live table; terminals show fewer


@dataclass(frozen=True)
class WatchOptions:
    """The options of the command. count: messages to show, None for no limit."""

    topic: str
    count: int | None
    as_json: bool
    from_beginning: bool


@click.command(
    short_help="Show the events of a topic as they arrive.",
    epilog="""\b
Examples:
  creatives watch creative-ready
  creatives watch creative-ready --from-beginning --count 3 --timeout 60 --json | jq -r '.images[].url'
  creatives watch segment-updated.dead --from-beginning

With --json every line is one event as it was published. Dead letters and values that are not JSON objects are
wrapped in an object with topic, partition, offset, timestamp, key, headers and value.

\b
Exit codes:
  0   --count events were shown
  1   --timeout passed, the topic does not exist, or the broker does not answer
  2   wrong option or setting
  130 stopped with Ctrl-C
""",
)
@click.argument("topic")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop with exit code 1 after this many seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, for pipes.")
@click.option("--from-beginning", is_flag=True, help="Start with the oldest event instead of the next one.")
def watch(topic: str, count: int | None, timeout: float | None, as_json: bool, from_beginning: bool) -> None:
    """Show the events of TOPIC as they arrive, as a live table or as JSON lines.

    Watching joins no consumer group, so workers still receive every event.
    """
    from streams.cli.terminal import read_settings, require_broker

    settings = require_broker(read_settings())
    options = WatchOptions(topic, count, as_json, from_beginning)
    try:
        asyncio.run(asyncio.wait_for(_watch(options, settings), timeout))
    except TimeoutError:
        expected = f"{count} events" if count else "more events"
        raise click.ClickException(f"Timed out after {timeout:g} s, before {expected} arrived on {topic}.") from None
    except KeyboardInterrupt:
        sys.exit(130)


async def _watch(options: WatchOptions, settings: Settings) -> None:
    from streams.cli.topic_reader import topic_reader

    async with topic_reader([options.topic], settings, from_beginning=options.from_beginning) as reader:
        click.echo(f"Watching {options.topic} ({reader.partitions} partitions). Press Ctrl-C to stop.", err=True)
        if options.as_json:
            dead_letters = options.topic.endswith(settings.topics.dead_suffix)
            await _show_each(reader, options.count, lambda message: click.echo(message.as_json(envelope=dead_letters)))
        else:
            await _show_table(reader, options, settings)


async def _show_each(reader: TopicReader, count: int | None, show: Callable[[TopicMessage], None]) -> None:
    shown = 0
    async for message in reader.messages():
        show(message)
        shown += 1
        if shown == count:
            return


async def _show_table(reader: TopicReader, options: WatchOptions, settings: Settings) -> None:
    """Update a live table; print one line per event if the output is not a terminal."""
    from rich.live import Live

    from streams.cli.event_table import event_row, event_table, topic_kind
    from streams.cli.terminal import console

    kind = topic_kind(options.topic, settings.topics)
    if not console.is_terminal:
        await _show_each(reader, options.count, lambda message: click.echo("\t".join(event_row(kind, message))))
        return
    rows: list[tuple[str, ...]] = []
    with Live(event_table(kind, rows), console=console, auto_refresh=False, vertical_overflow="crop") as live:

        def show(message: TopicMessage) -> None:
            rows.insert(0, event_row(kind, message))  # newest first: the terminal crops the bottom
            live.update(event_table(kind, rows[:MAX_ROWS]), refresh=True)

        await _show_each(reader, options.count, show)
