"""Commands that use the studio without Kafka: generate."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from models.briefs import Format, Sampler

if TYPE_CHECKING:
    from models.briefs import Brief, StudioPlan
    from streams.cli.local_rendering import Made

SAMPLERS = get_args(Sampler)
FORMATS = get_args(Format)


@click.command(
    short_help="Make pictures for a prompt, without Kafka.",
    epilog="""\b
Examples:
  creatives generate "a cup of coffee and a croissant on a wooden table"
  creatives generate "a green salad" -n 16 --keep 4 --seed 7 --out salad/
  creatives generate "a jar of jam" --diffusion ./stable-diffusion-v1-5 --steps 30 --device cuda

Equal prompt, seed, weights and kind of device give equal pictures. Other weights can be named for good with
CREATIVES_STUDIO__DIFFUSION, CREATIVES_STUDIO__RERANKING and CREATIVES_STUDIO__UPSCALING.
""",
)
@click.argument("prompt")
@click.option("-n", "--candidates", type=click.IntRange(1, 256), default=8, show_default=True, help="Pictures to make.")
@click.option("--keep", type=click.IntRange(min=1), default=2, show_default=True, help="Best ones to enlarge and keep.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: generated/<prompt>]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="For the same pictures again.")
@click.option("--negative-prompt", default="", help="What should not be seen.  [default: the family's own]")
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True, help="Shapes.  [default: square]")
@click.option("--steps", type=click.IntRange(1, 1000), help="Inference steps.")
@click.option("--guidance-scale", type=click.FloatRange(0, 50), help="How closely to follow the prompt.")
@click.option("--sampler", type=click.Choice(SAMPLERS), help="Of few-step models: see docs/operations.md.")
@click.option("--diffusion", help="Other weights: a folder, a file, or a hub id with @revision.")
@click.option("--device", help="auto, cpu, cuda, cuda:1.")
def generate(prompt: str, out: Path | None, **options: Any) -> None:
    """Make pictures for PROMPT: generate, rerank, enlarge, encode, as a worker does.

    Writes the pictures, a contact sheet and scores.json with every candidate's seed and score.
    """
    from streams.cli.local_rendering import folder_for, make, write
    from streams.cli.terminal import read_settings

    settings = read_settings()
    brief = _brief(prompt, options)
    try:
        made = asyncio.run(make(brief, _plan(settings.studio.plan(), options), settings.device))
    except KeyboardInterrupt:
        sys.exit(130)
    folder = out or folder_for(prompt)
    _show(made, write(made, folder), folder)


def _brief(prompt: str, options: dict[str, Any]) -> Brief:
    """Return the brief of the options, and take its own out of them; what is left is the plan's."""
    from models.briefs import Brief

    candidates, keep, seed = (options.pop(name) for name in ("candidates", "keep", "seed"))
    if keep > candidates:
        raise click.UsageError(f"--keep {keep} is more than the {candidates} candidates (-n) to choose from.")
    if not any(character.isalpha() for character in prompt):
        raise click.UsageError("The prompt needs at least one letter.")
    from streams.requests import request_id, seeds_from

    seeds = seeds_from(str(secrets.randbits(63) if seed is None else seed), candidates)
    return Brief(
        request_id=request_id(f"{prompt} {seeds}", "generate", 0),
        prompt=prompt,
        negative_prompt=options.pop("negative_prompt"),
        seeds=seeds,
        keep=keep,
        formats=options.pop("formats") or ("square",),
    )


def _plan(plan: StudioPlan, given: dict[str, Any]) -> StudioPlan:
    """Return the settings' plan with what the command line says instead."""
    from dataclasses import replace

    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _show(made: Made, paths: list[Path], folder: Path) -> None:
    from rich.table import Table

    from streams.cli.local_rendering import figure
    from streams.cli.terminal import out

    table = Table("rank", "score", "seed", "picture", header_style="bold", border_style="dim")
    for picture, path in zip(made.rendering.pictures, paths, strict=True):
        table.add_row(str(picture.rank), figure(picture.scores), str(picture.seed), str(path))
    out.print(table)
    click.echo(f"{made.rendering.device_seconds:.1f} s on {made.ready.device}; see {folder / 'contact-sheet.png'}")
