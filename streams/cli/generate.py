"""`creatives generate`: make pictures for a prompt, without Kafka."""

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
    from streams.cli.local_rendering import LocalRendering

SAMPLERS = get_args(Sampler)
FORMATS = get_args(Format)


@click.command(
    short_help="Make pictures for a prompt, without Kafka.",
    epilog="""\b
Examples:
  creatives generate "a cup of coffee and a croissant on a wooden table"
  creatives generate "a green salad" -n 16 --keep 4 --seed 7 --out salad/
  creatives generate "a jar of jam" --diffusion ./stable-diffusion-v1-5 --steps 30 --device cuda
  creatives generate "a jar of jam on a table" --concept products/dzem-malina/concept.safetensors

The same prompt, seed, weights and kind of device give the same pictures. To use other weights in every command, set
CREATIVES_STUDIO__DIFFUSION, CREATIVES_STUDIO__RERANKING and CREATIVES_STUDIO__UPSCALING.

\b
Exit codes:
  0   the pictures are in the folder
  1   the weights or the device cannot be used; the last line gives the reason
  2   wrong option or setting
  130 stopped with Ctrl-C
""",
)
@click.argument("prompt")
@click.option("-n", "--candidates", type=click.IntRange(1, 256), default=8, show_default=True, help="Pictures to make.")
@click.option("--keep", type=click.IntRange(min=1), default=2, show_default=True, help="Best pictures to enlarge.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: generated/<prompt>]")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), help="Repeat this to get the same pictures again.")
@click.option("--negative-prompt", default="", help="What to avoid.  [default: that of the model family]")
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True, help="Shapes.  [default: square]")
@click.option("--steps", type=click.IntRange(1, 1000), help="Inference steps.")
@click.option("--guidance-scale", type=click.FloatRange(0, 50), help="How closely pictures follow the prompt.")
@click.option(
    "--sampler", type=click.Choice(SAMPLERS), help="For few-step models; see docs/operations/first-deployment.md."
)
@click.option("--diffusion", help="Other weights: a folder, a file, or a hub id with @revision.")
@click.option("--device", help="auto, cpu, cuda, cuda:1.")
@click.option(
    "--concept",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show the product of `creatives train`: its concept.safetensors. The prompt names the product's class noun.",
)
def generate(prompt: str, out: Path | None, **options: Any) -> None:
    """Make pictures for PROMPT as a worker does: generate candidates, rank them with CLIP, enlarge the best.

    Writes the pictures, a contact sheet, and scores.json with the seed and score of every candidate.
    """
    from streams.cli.local_rendering import default_folder, render_locally, write_rendering
    from streams.cli.terminal import read_settings, require_writable

    settings = read_settings()
    brief = _take_brief(prompt, options)
    folder = out or default_folder(prompt)
    require_writable(folder)
    try:
        result = asyncio.run(render_locally(brief, _plan(settings.studio.plan(), options), settings.device))
    except KeyboardInterrupt:
        sys.exit(130)
    _print(result, write_rendering(result, folder), folder)


def _take_brief(prompt: str, options: dict[str, Any]) -> Brief:
    """Return the brief and remove its options; the remaining ones belong to the plan."""
    from models.briefs import Brief

    candidates, keep, seed = (options.pop(name) for name in ("candidates", "keep", "seed"))
    if keep > candidates:
        raise click.UsageError(f"--keep {keep} is more than the {candidates} candidates (-n) to choose from.")
    if not any(character.isalpha() for character in prompt):
        raise click.UsageError("The prompt needs at least one letter.")
    from streams.cli.trained_concept import prompt_of_product, read_concept
    from streams.requests import derived_id, seeds_from

    path = options.pop("concept")
    concept = read_concept(path) if path else None
    prompt = prompt_of_product(prompt, concept) if concept else prompt
    seeds = seeds_from(str(secrets.randbits(53) if seed is None else seed), candidates)
    return Brief(
        request_id=derived_id(f"{prompt} {seeds}|generate|0"),
        prompt=prompt,
        negative_prompt=options.pop("negative_prompt"),
        seeds=seeds,
        keep=keep,
        formats=options.pop("formats") or ("square",),
        concept=concept,
    )


def _plan(plan: StudioPlan, options: dict[str, Any]) -> StudioPlan:
    """Return the plan of the settings, changed by the options of the command line."""
    from dataclasses import replace

    return replace(plan, **{name: value for name, value in options.items() if value is not None})


def _print(result: LocalRendering, paths: list[Path], folder: Path) -> None:
    from rich.table import Table

    from streams.cli.pictures import ranking_score
    from streams.cli.terminal import console

    table = Table("rank", "score", "seed", "picture", header_style="bold", border_style="dim")
    for picture, path in zip(result.rendering.pictures, paths, strict=True):
        table.add_row(str(picture.rank), ranking_score(picture.scores), str(picture.seed), str(path))
    console.print(table)
    seconds, device = result.rendering.device_seconds, result.ready.device
    click.echo(f"{seconds:.1f} s on {device}. Open {folder / 'contact-sheet.png'}")
