"""`creatives watch`: show the events of a topic as they arrive."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from streams.cli.since import Since

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.cli.topic_reader import ReadingRange, TopicMessage, TopicReader
    from streams.settings import Settings


@dataclass(frozen=True)
class WatchOptions:
    """The options of the command. count: messages to show, None for no limit."""

    topic: str
    count: int | None
    as_json: bool
    urls: bool
    wanted: ReadingRange


@click.command(
    short_help="Show the events of a topic as they arrive.",
    epilog="""\b
Examples:
  creatives watch creative-ready
  creatives watch creative-ready --since 15m
  creatives watch creative-ready --from-beginning --until-end --json | jq -r '.images[].url'
  creatives watch segment-updated --partition 2 --offset 1041 --count 1 --json
  creatives watch segment-updated.dead --from-beginning

On a terminal each event is one line, and the word `picture` is a link to its first picture. If your terminal shows no
links, add --urls. In a pipe the line holds the URL itself, after a tab.

With --json every line is one event, with its topic, partition, offset and time as `_kafka`. Dead letters and values
that are not JSON objects are wrapped in an object with topic, partition, offset, timestamp, time, key, headers and
value.

\b
Exit codes:
  0   --count events were shown, or --until-end reached the end
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
@click.option("--urls", is_flag=True, help="Print the URL of the first picture on a line of its own.")
@click.option("--from-beginning", is_flag=True, help="Start with the oldest event instead of the next one.")
@click.option("--since", type=Since(), help="Start with the events of the last 15m, 2h or 1d, or of a time.")
@click.option("--offset", type=click.IntRange(min=0), help="Start with this offset; needs --partition.")
@click.option("--partition", type=click.IntRange(min=0), help="Show only this partition.")
@click.option("--until-end", is_flag=True, help="Stop after the newest event instead of waiting for more.")
def watch(topic: str, count: int | None, timeout: float | None, as_json: bool, urls: bool, **wanted: Any) -> None:
    """Show the events of TOPIC as they arrive, one line each.

    Watching joins no consumer group, so workers still receive every event.
    """
    from streams.cli.terminal import counted, read_settings, require_broker

    options = WatchOptions(topic, count, as_json, urls, _reading_range(**wanted))
    settings = require_broker(read_settings())
    try:
        asyncio.run(asyncio.wait_for(_watch(options, settings), timeout))
    except TimeoutError:
        expected = "more events" if count is None else counted(count, "event")
        raise click.ClickException(f"Timed out after {timeout:g} s, before {expected} arrived on {topic}.") from None
    except KeyboardInterrupt:
        sys.exit(130)


def _reading_range(
    from_beginning: bool, since: datetime | None, offset: int | None, partition: int | None, until_end: bool
) -> ReadingRange:
    """Return the range. Raises UsageError for options that contradict each other."""
    from streams.cli.topic_reader import ReadingRange

    starts = [from_beginning, since is not None, offset is not None]
    if sum(starts) > 1:
        raise click.UsageError("--from-beginning, --since and --offset exclude each other.")
    if offset is not None and partition is None:
        raise click.UsageError("--offset needs --partition: every partition counts its own offsets.")
    if until_end and not any(starts):
        raise click.UsageError("--until-end needs --from-beginning, --since or --offset: without one, it starts there.")
    return ReadingRange(from_beginning, since, partition, offset, until_end)


async def _watch(options: WatchOptions, settings: Settings) -> None:
    from streams.cli.terminal import counted
    from streams.cli.topic_reader import topic_reader

    async with topic_reader([options.topic], settings, options.wanted) as reader:
        if not options.wanted.until_end:
            partitions = counted(reader.partitions, "partition")
            click.echo(f"Watching {options.topic} ({partitions}). Press Ctrl-C to stop.", err=True)
        if options.as_json:
            dead_letters = options.topic.endswith(settings.topics.dead_suffix)
            await _show_each(reader, options.count, lambda message: click.echo(message.as_json(envelope=dead_letters)))
        else:
            await _show_rows(reader, options, settings)


async def _show_each(reader: TopicReader, count: int | None, show: Callable[[TopicMessage], None]) -> None:
    shown = 0
    async for message in reader.messages():
        show(message)
        shown += 1
        if shown == count:
            return


async def _show_rows(reader: TopicReader, options: WatchOptions, settings: Settings) -> None:
    """Print one line per event: in columns on a terminal, else with tabs."""
    from streams.cli.event_table import event_row, picture_url, terminal_row, topic_kind
    from streams.cli.terminal import console

    kind = topic_kind(options.topic, settings.topics)
    if console.is_terminal:
        console.print(terminal_row(kind))

    def show(message: TopicMessage) -> None:
        cells = event_row(kind, message)
        if not console.is_terminal:
            click.echo("\t".join(cells))
            return
        console.print(terminal_row(kind, cells))
        url = picture_url(kind, cells)
        if url and (options.urls or console.color_system is None):  # a terminal without colours shows no links
            click.echo(url)

    await _show_each(reader, options.count, show)
