"""The demo from its first line to its last: what is started, what is said, and what a failure looks like."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
from rich.table import Table

from streams.cli.demo import output
from streams.cli.demo.outcomes import DemoFailed, Outcome, Taught, Worker, last_lines, outcomes, worker
from streams.cli.demo.products import EXAMPLES, product_events, put_photos
from streams.cli.event_file import Letter, Unfit, letters
from streams.cli.local_rendering import figure
from streams.cli.progress import StageBars
from streams.cli.terminal import Wrong, err, out
from streams.embedded import embedded
from streams.kafka.topics import expected_topics
from streams.settings import Settings

SEGMENTS = ("coffee-enthusiast", "cooking-enthusiast", "healthy-vegan")


@dataclass(frozen=True)
class Show:
    """What the demo was asked for."""

    files: tuple[Path, ...]
    folder: Path
    serve: bool
    products: bool
    timeout: float


def show(wish: Show, settings: Settings) -> None:
    """Run the demo. A failure ends with the worker's last words and exit code 1; Ctrl-C with 130, or 0 when serving."""
    began = time.monotonic()
    events = _events(wish, settings)
    output.clear(wish.folder)
    log = wish.folder / "worker.log"
    with embedded(settings, {spec.name: spec.partitions for spec in expected_topics(settings)}) as started:
        own = settings.storage.endpoint == "embedded" and settings.storage.public_base is None
        found = _public(started) if own else started
        click.echo(f"broker {found.kafka.bootstrap_servers}, store {found.storage.endpoint}", err=True)
        click.echo(f"a worker starts; its words go to {log}", err=True)
        try:
            asyncio.run(_perform(wish, found, events, began))
        except (DemoFailed, TimeoutError) as error:
            reason = str(error) or f"{wish.timeout:g} s passed."
            raise click.ClickException(_advice(reason, log)) from None
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise click.exceptions.Exit(130) from None


def _public(settings: Settings) -> Settings:
    """Let anybody read the embedded bucket, and return settings with short, unsigned addresses of its objects."""
    storage = settings.storage
    base = f"{storage.endpoint}/{storage.bucket}"
    grant = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{storage.bucket}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [grant]}
    httpx.put(f"{base}?policy", json=policy, trust_env=False).raise_for_status()
    return settings.model_copy(update={"storage": storage.model_copy(update={"public_base": base})})


def _events(wish: Show, settings: Settings) -> list[Letter]:
    """Return the events to show, all of them valid."""
    paths = wish.files or tuple(EXAMPLES / f"{name}.json" for name in SEGMENTS)
    found: list[Letter] = []
    for path in paths:
        if not path.exists():
            raise Wrong(f"{path} is missing; run the demo from a checkout, or name FILES of your own.")
        for entry in letters(path.read_bytes(), settings, settings.topics.segment_updated):
            if isinstance(entry, Unfit):
                raise Wrong("\n".join(f"{path}, line {entry.line}: {fault}" for fault in entry.faults))
            found.append(entry)
    found += product_events(settings) if wish.products else []
    twice = len(found) - len({letter.event.event_id for letter in found})
    if twice:
        raise Wrong(f"{twice} of the events repeat another's event_id.")
    return found


async def _perform(wish: Show, settings: Settings, events: list[Letter], began: float) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)  # else the worker would outlive us
    async with worker(settings, wish.folder / "worker.log") as running:
        with StageBars(err) as bars:
            async with asyncio.timeout(wish.timeout):
                if wish.products:
                    await put_photos(settings)
                found = await outcomes(events, settings, running, bars)
        output.write(found, wish.folder)
        _say(found, wish.folder, time.monotonic() - began)
        if wish.serve:
            await _serve(running, settings)


def _say(found: list[Outcome | Taught], folder: Path, seconds: float) -> None:
    if not out.is_terminal:
        out.width = 200
    segments = [one for one in found if isinstance(one, Outcome)]
    products = [one for one in found if isinstance(one, Taught)]
    if products:
        out.print(_lessons(products))
    out.print(_creatives(segments))
    pictures = sum(len(outcome.pictures) for outcome in segments)
    out.print(f"{pictures} pictures of {len(segments)} segments in {seconds:.0f} s. Look at {folder / 'index.html'}")


def _lessons(found: list[Taught]) -> Table:
    """Return what was learned, with the likeness to the photos before and after."""
    table = Table(header_style="bold", border_style="dim", show_lines=True)
    for name in ("product", "method", "steps", "seconds", "fidelity before", "after", "samples"):
        table.add_column(name, overflow="fold")
    for taught in found:
        ready = taught.ready
        figures = [f"{ready.scores.get(name, float('nan')):.3f}" for name in ("fidelity_before", "fidelity")]
        seconds, first = f"{ready.cost.device_seconds:.0f}", next((kept.image.url for kept in taught.pictures), "")
        table.add_row(taught.product.name, ready.method, str(ready.steps), seconds, *figures, first)
    return table


def _creatives(found: list[Outcome]) -> Table:
    table = Table(header_style="bold", border_style="dim", show_lines=True)
    for name, widest in (("segment", 20), ("prompt", 44), ("rank", 4), ("score", 12), ("URL", None)):
        table.add_column(name, overflow="fold", max_width=widest)
    for outcome in found:
        for number, kept in enumerate(outcome.pictures):
            name, prompt = (outcome.segment.name, outcome.ready.prompt) if number == 0 else ("", "")
            table.add_row(name, prompt, str(kept.image.rank), figure(kept.image.scores), kept.image.url)
    return table


async def _serve(running: Worker, settings: Settings) -> None:
    """Keep everything up until Ctrl-C, which is this command's ordinary end."""
    err.print(
        f"gallery {running.page}   objects {settings.storage.public_base or settings.storage.endpoint}   Ctrl-C ends"
    )
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    dying = asyncio.create_task(running.process.wait())
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({dying, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not ended.is_set():
        raise DemoFailed(reason=f"The worker ended with exit code {running.process.returncode}.")
    waiting.cancel()


def _advice(reason: str, log: Path) -> str:
    return (
        f"{reason}\n\nThe worker's last words ({log}):\n{last_lines(log)}\n\n"
        "What to do: `creatives doctor` looks at models, device and packages; `make install` mends an installation."
    )
