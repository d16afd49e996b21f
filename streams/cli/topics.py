"""`creatives topics`: show and create the topics that the service needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from streams.kafka.topics import TopicState
    from streams.settings import Settings


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
    from streams.kafka.topics import topic_problem, topic_states

    settings = reachable(read_settings())
    if creating:
        asyncio.run(_create(settings))
    found = asyncio.run(topic_states(settings))
    out.print(_topic_table(found))
    problem = topic_problem(found)
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
