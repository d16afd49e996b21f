"""Prints what the commands `emit` and `prompt` find in a file: faults, and the prompts of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schemas.events import ProductRegistered, SegmentUpdated
from streams.cli.event_file import InvalidEntry, ValidEvent
from streams.cli.local_prompter import local_prompter, stand_in, subjects

if TYPE_CHECKING:
    from streams.settings import Settings


def report_faults(name: str, entries: list[ValidEvent | InvalidEntry], *, strict: bool = False) -> None:
    """Print the faults and unknown fields of each entry. name: of the file. strict: unknown fields are faults."""
    for entry in entries:
        for fault in entry.faults if isinstance(entry, InvalidEntry) else ():
            click.echo(f"{name}, line {entry.line}: {fault}", err=True)
        for field in entry.unknown:
            click.echo(f"{name}, line {entry.line}: unknown field{'' if strict else ', ignored'}: {field}", err=True)


def show_prompts(events: list[ValidEvent], settings: Settings) -> None:
    """Print the prompt of each segment, and how it came about."""
    segments = [event.content for event in events if isinstance(event.content, SegmentUpdated)]
    named = subjects(event.content for event in events if isinstance(event.content, ProductRegistered))
    prompter = local_prompter(settings.studio) if segments else None
    for segment in segments:
        assert prompter is not None
        product = segment.product_id
        shown = (named.get(product) or stand_in(product)) if product else None
        prompt = prompter.compose(segment, shown)
        click.echo(f"{segment.event_id}: {prompt.text}")
        for line in (f"negative prompt: {prompt.negative}", *prompt.rationale):
            click.echo(f"  {line}")
        if shown and product not in named:
            click.echo(f"  {shown.words} stands for the words of the registration of {product}")
