"""`creatives watch`: show the events of a topic as they arrive."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from streams.cli.watcher import Seen, Watcher
    from streams.settings import Settings

ROWS = 200  # of a live table; a terminal shows fewer


@dataclass(frozen=True)
class Look:
    """What to watch, and how."""

    topic: str
    count: int | None
    as_json: bool
    from_beginning: bool


@click.command(
    short_help="Show the events of a topic as they come.",
    epilog="""\b
Examples:
  creatives watch creative-ready
  creatives watch creative-ready --from-beginning --count 3 --timeout 60 --json | jq -r '.images[].url'
  creatives watch segment-updated.dead --from-beginning

With --json every line is one event as it was published. A dead letter, and anything that is no JSON object, comes as
an object with topic, partition, offset, timestamp, key, headers and value.
""",
)
@click.argument("topic")
@click.option("--count", type=click.IntRange(min=1), help="End after this many events.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Give up after S seconds: exit code 1."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for pipes.")
@click.option("--from-beginning", is_flag=True, help="Start with the oldest event, not with the next.")
def watch(topic: str, count: int | None, timeout: float | None, as_json: bool, from_beginning: bool) -> None:
    """Show the events of TOPIC as they come: a live table, or JSON lines.

    Watching joins no consumer group: it takes nothing away from anybody.
    """
    from streams.cli.terminal import reachable, read_settings

    settings = reachable(read_settings())
    look = Look(topic, count, as_json, from_beginning)
    try:
        asyncio.run(asyncio.wait_for(_watch(look, settings), timeout))
    except TimeoutError:
        wanted = f"{count} events" if count else "more events"
        raise click.ClickException(f"{timeout:g} s passed before {wanted} came on {topic}.") from None
    except KeyboardInterrupt:
        sys.exit(130)


async def _watch(look: Look, settings: Settings) -> None:
    from streams.cli.watcher import watcher

    async with watcher([look.topic], settings, beginning=look.from_beginning) as watching:
        click.echo(f"watching {look.topic}, {watching.partitions} partitions; Ctrl-C ends it", err=True)
        if look.as_json:
            dead = look.topic.endswith(settings.topics.dead_suffix)
            await _take(watching, look.count, lambda seen: click.echo(seen.as_json(envelope=dead)))
        else:
            await _show(watching, look, settings)


async def _take(watching: Watcher, count: int | None, show: Callable[[Seen], None]) -> None:
    taken = 0
    async for seen in watching.messages():
        show(seen)
        taken += 1
        if taken == count:
            return


async def _show(watching: Watcher, look: Look, settings: Settings) -> None:
    """Keep a live table; where the output is no terminal, print a line per event instead."""
    from rich.live import Live

    from streams.cli.event_rows import kind_of, row
    from streams.cli.terminal import out

    kind = kind_of(look.topic, settings.topics)
    if not out.is_terminal:
        await _take(watching, look.count, lambda seen: click.echo("\t".join(row(kind, seen))))
        return
    rows: list[tuple[str, ...]] = []
    with Live(_table(kind, rows), console=out, auto_refresh=False, vertical_overflow="crop") as live:

        def show(seen: Seen) -> None:
            rows.insert(0, row(kind, seen))  # newest first: a terminal cuts off what is below its edge
            live.update(_table(kind, rows[:ROWS]), refresh=True)

        await _take(watching, look.count, show)


def _table(kind: str, rows: list[tuple[str, ...]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from streams.cli.event_rows import COLUMNS

    table = Table("time", *COLUMNS[kind], header_style="bold", border_style="dim")
    for cells in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    return table
