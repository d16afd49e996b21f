"""Commands for those who keep it running: doctor."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.ops.checks import Finding
    from streams.settings import Settings


@click.command(
    short_help="Say what works, what does not, and what to do.",
    epilog="""\b
Examples:
  creatives doctor
  creatives doctor --no-models                      seconds instead of the time to load the weights
  set -a; . ./services.env; creatives doctor        broker and store too
""",
)
@click.option("--models/--no-models", "with_models", default=True, help="Load the weights on the device, or do not.")
def doctor(with_models: bool) -> None:
    """Look at versions, broker, topics, object store, device and models, each as a worker would use it.

    Exit code 1 if something does not work.
    """
    from streams.cli.terminal import out, read_settings

    findings = asyncio.run(_examine(read_settings(), with_models=with_models))
    broken = [finding.name for finding in findings if not finding.works]
    if broken:
        raise click.ClickException(f"Not working: {', '.join(broken)}.")
    out.print("Everything works.")


async def _examine(settings: Settings, *, with_models: bool) -> list[Finding]:
    from streams.cli.terminal import err
    from streams.ops.checks import DEVICE, MODELS, checks, examine

    findings: list[Finding] = []
    for check in checks(settings, with_models=with_models):
        if check is MODELS and any(found.name == DEVICE.name and not found.works for found in findings):
            continue  # they would say of themselves what the device has said
        with err.status(f"looking at {check.name} ..."):
            finding = await examine(check, settings)
        _print(finding)
        findings.append(finding)
    return findings


def _print(finding: Finding) -> None:
    from rich.text import Text

    from streams.cli.terminal import out

    mark = Text("ok    ", "green") if finding.works else Text("BROKEN", "bold red")
    for number, line in enumerate(finding.lines):
        head = mark + Text(f"  {finding.name:<10}") if number == 0 else Text(" " * 18)
        out.print(head + Text(line), soft_wrap=True)
    sys.stdout.flush()
