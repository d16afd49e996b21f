"""`creatives topics`: show and create the topics and the bucket that the service needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from streams.kafka.topics import TopicState
    from streams.settings import Settings


@click.command(
    short_help="Show or create the topics the service needs.",
    epilog="""\b
Examples:
  creatives topics
  CREATIVES_TOPICS__PARTITIONS=12 CREATIVES_TOPICS__REPLICATION_FACTOR=3 creatives topics --create

CREATIVES_TOPICS__PARTITIONS applies when a topic is created. The command never changes an existing topic, since keys
would move to other partitions. A topic with more or fewer partitions works: it keeps as many workers busy.

\b
Exit codes:
  0 all topics and the bucket exist
  1 something is missing, or the broker or store does not answer
  2 wrong option or setting
""",
)
@click.option("--create", "creating", is_flag=True, help="Create missing topics and the bucket of the object store.")
def topics(creating: bool) -> None:
    """Show the topics the service needs and which of them are missing.

    If the settings name an object store, the command checks its bucket too.
    """
    from streams.cli.terminal import console, read_settings, require_broker
    from streams.kafka.topics import topic_problem, topic_states

    settings = require_broker(read_settings())
    if creating:
        asyncio.run(_create(settings))
    states = asyncio.run(topic_states(settings))
    console.print(_topic_table(states))
    if error := topic_problem(states):
        raise error
    if settings.storage.endpoint != "embedded":
        asyncio.run(_check_bucket(settings, create=False))
        click.echo(f"bucket {settings.storage.bucket} at {settings.storage.endpoint}: ok")


async def _create(settings: Settings) -> None:
    from streams.cli.terminal import counted
    from streams.kafka.topics import create

    for spec in await create(settings):
        copies = f"{counted(spec.partitions, 'partition')}, {counted(spec.replicas, 'replica')}"
        click.echo(f"created {spec.name}: {copies}", err=True)
    if settings.storage.endpoint != "embedded":
        await _check_bucket(settings, create=True)


async def _check_bucket(settings: Settings, *, create: bool) -> None:
    from streams.store.s3 import MinioStore

    store = MinioStore(settings.storage)
    try:
        await (store.make_bucket() if create else store.check())
    finally:
        store.close()


def _topic_table(states: list[TopicState]) -> Table:
    from rich.table import Table

    table = Table("topic", "partitions", "state", header_style="bold", border_style="dim")
    for state in states:
        label = f"[red]{state.fault}[/]" if state.fault else _existing(state)
        table.add_row(state.spec.name, str(state.found if state.found is not None else "-"), label)
    return table


def _existing(state: TopicState) -> str:
    return f"[yellow]ok (new topics get {state.spec.partitions})[/]" if state.difference else "[green]ok[/]"
