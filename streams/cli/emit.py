"""Commands for analytics services and ad schedulers: emit, watch, topics."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from rich.table import Table

    from streams.cli.event_file import Letter, Unfit
    from streams.cli.watcher import Seen, Watcher
    from streams.kafka.topics import TopicState
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


@click.command(
    short_help="Show the topics the service needs; create them.",
    epilog="""\b
Examples:
  creatives topics
  CREATIVES_TOPICS__PARTITIONS=12 CREATIVES_TOPICS__REPLICATION_FACTOR=3 creatives topics --create

Partition counts of topics that exist are never changed: the keys of running events would move to other partitions.
""",
)
@click.option("--create", "creating", is_flag=True, help="Create what is missing, the store's bucket too.")
def topics(creating: bool) -> None:
    """Show the topics the service needs, and what is missing. Exit code 1 unless all of them are right.

    Where an object store is named, its bucket is looked at too.
    """
    from streams.cli.terminal import out, reachable, read_settings
    from streams.kafka.topics import complaint, states

    settings = reachable(read_settings())
    if creating:
        asyncio.run(_create(settings))
    found = asyncio.run(states(settings))
    out.print(_topic_table(found))
    problem = complaint(found)
    if problem is not None:
        raise problem
    if settings.storage.endpoint != "embedded":
        asyncio.run(_look_at_bucket(settings, creating=False))
        click.echo(f"bucket {settings.storage.bucket} at {settings.storage.endpoint}: ok")


async def _create(settings: Settings) -> None:
    from streams.kafka.topics import create

    for spec in await create(settings):
        click.echo(f"created {spec.name}: {spec.partitions} partitions, {spec.replicas} replicas", err=True)
    if settings.storage.endpoint != "embedded":
        await _look_at_bucket(settings, creating=True)


async def _look_at_bucket(settings: Settings, *, creating: bool) -> None:
    from streams.store.s3 import MinioStore

    store = MinioStore(settings.storage)
    try:
        await (store.make_bucket() if creating else store.check())
    finally:
        store.close()


def _topic_table(found: list[TopicState]) -> Table:
    from rich.table import Table

    table = Table("topic", "partitions", "state", header_style="bold", border_style="dim")
    for state in found:
        verdict = f"[red]{state.problem}[/]" if state.problem else "[green]ok[/]"
        table.add_row(state.spec.name, str(state.found if state.found is not None else "-"), verdict)
    return table
