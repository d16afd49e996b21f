"""`creatives prompt`: show the prompts of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import BinaryIO


@click.command(
    short_help="Show the prompts of segments, without worker, device or broker.",
    epilog="""\b
Examples:
  creatives prompt docs/examples/coffee-enthusiast.json
  creatives prompt segments.jsonl
  jq -c 'select(.language == "pl")' segments.jsonl | creatives prompt -

A segment with a product needs the product's registration in the same file; without it a stand-in names the product.

\b
Exit codes:
  0 every event of the file is valid
  1 the weights of the settings have no tokenizer that can be read
  2 the file holds an invalid event, or a setting is wrong
""",
)
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
def prompt(file: BinaryIO) -> None:
    """Show the prompt of each segment in FILE (- for standard input), and what became of each field.

    The prompts are those of a worker with the same settings: the weights decide how long a prompt may be, and which
    things it may name.
    """
    from streams.cli.event_file import ValidEvent, read_events
    from streams.cli.prompts import report_faults, show_prompts
    from streams.cli.terminal import InputError, read_settings

    settings = read_settings()
    entries = read_events(file.read(), settings)
    report_faults(getattr(file, "name", "<stdin>"), entries)
    valid = [entry for entry in entries if isinstance(entry, ValidEvent)]
    show_prompts(valid, settings)
    if invalid := len(entries) - len(valid):
        raise InputError(f"{invalid} of {len(entries)} events are invalid.")
