"""`creatives doctor`: check a deployment."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.ops.checks import CheckResult
    from streams.settings import Settings


@click.command(
    short_help="Check the deployment and explain what to fix.",
    epilog="""\b
Examples:
  creatives doctor
  creatives doctor --no-models                      takes seconds: does not load the weights
  set -a; . ./services.env; creatives doctor        also checks the broker and store of `creatives services`

\b
Exit codes:
  0 every check passed
  1 a check failed; its line explains what to fix
  2 wrong option or setting
""",
)
@click.option("--models/--no-models", "with_models", default=True, help="Load the weights on the device, or skip that.")
def doctor(with_models: bool) -> None:
    """Check versions, codecs, device, broker, topics, object store and models, each in the way a worker uses it."""
    from streams.cli.terminal import console, read_settings

    results = asyncio.run(_run_checks(read_settings(), with_models=with_models))
    failed = [result.name for result in results if not result.passed]
    if failed:
        raise click.ClickException(f"Not working: {', '.join(failed)}.")
    console.print("Everything works.")


async def _run_checks(settings: Settings, *, with_models: bool) -> list[CheckResult]:
    from streams.cli.terminal import err_console
    from streams.ops.checks import DEVICE, MODELS, WEIGHTS, run_check, select_checks

    results: list[CheckResult] = []
    for check in select_checks(settings, with_models=with_models):
        if check is MODELS and any(each.name in {DEVICE.name, WEIGHTS.name} and not each.passed for each in results):
            continue  # it would report the same fault a second time
        with err_console.status(f"checking {check.name} ..."):
            result = await run_check(check, settings)
        _print(result)
        results.append(result)
    return results


def _print(result: CheckResult) -> None:
    from rich.text import Text

    from streams.cli.terminal import console

    mark = Text("ok    ", "green") if result.passed else Text("BROKEN", "bold red")
    for number, line in enumerate(result.lines):
        head = mark + Text(f"  {result.name:<10}") if number == 0 else Text(" " * 18)
        console.print(head + Text(line), soft_wrap=True)
    sys.stdout.flush()
