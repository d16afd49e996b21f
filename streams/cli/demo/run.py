"""Run the demo from start to end: services, worker, events, output and failures."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from streams.cli.demo import output_folder
from streams.cli.demo.collector import collect_results
from streams.cli.demo.errors import DemoFailed
from streams.cli.demo.events import demo_events
from streams.cli.demo.products import store_photos
from streams.cli.demo.summary import print_summary
from streams.cli.demo.worker_process import WorkerProcess, last_log_lines, worker_process
from streams.cli.event_file import ValidEvent
from streams.cli.progress import StageBars
from streams.cli.terminal import err_console
from streams.embedded import embedded
from streams.kafka.topics import expected_topics
from streams.settings import Settings


@dataclass(frozen=True)
class DemoOptions:
    """The options of the command. files: segment events of the user; timeout: seconds."""

    files: tuple[Path, ...]
    folder: Path
    serve: bool
    products: bool
    timeout: float

    @property
    def worker_log(self) -> Path:
        """The file that receives the output of the worker."""
        return self.folder / "worker.log"


def run_demo(options: DemoOptions, settings: Settings) -> None:
    """Run the demo. A failure prints the end of the worker log and exits with code 1.

    Ctrl-C exits with code 130, or 0 while serving.
    """
    began = time.monotonic()
    events = demo_events(options.files, settings, products=options.products)
    output_folder.clear(options.folder)
    with embedded(settings, {spec.name: spec.partitions for spec in expected_topics(settings)}) as running:
        needs_public_bucket = settings.storage.endpoint == "embedded" and settings.storage.public_base is None
        reachable = _publish_bucket(running) if needs_public_bucket else running
        click.echo(f"Broker {reachable.kafka.bootstrap_servers}, object store {reachable.storage.endpoint}", err=True)
        click.echo(f"Starting a worker (log: {options.worker_log})", err=True)
        try:
            asyncio.run(_send_and_show(options, reachable, events, began))
        except (DemoFailed, TimeoutError) as error:
            reason = str(error) or f"The demo timed out after {options.timeout:g} s. Set a longer --timeout."
            raise click.ClickException(_explain(reason, options.worker_log)) from None
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise click.exceptions.Exit(130) from None


def _publish_bucket(settings: Settings) -> Settings:
    """Let everyone read the embedded bucket. Return settings that give its objects short, unsigned URLs."""
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


async def _send_and_show(options: DemoOptions, settings: Settings, events: list[ValidEvent], began: float) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)  # otherwise the worker would outlive this process
    async with worker_process(settings, options.worker_log) as worker:
        with StageBars(err_console) as bars:
            async with asyncio.timeout(options.timeout):
                if options.products:
                    await store_photos(settings)
                results = await collect_results(events, settings, worker, bars)
        output_folder.write(results, options.folder)
        print_summary(results, options.folder, time.monotonic() - began)
        if options.serve:
            await _serve(worker, settings)


async def _serve(worker: WorkerProcess, settings: Settings) -> None:
    """Keep worker and services up until Ctrl-C. Raises DemoFailed if the worker exits first."""
    objects = settings.storage.public_base or settings.storage.endpoint
    err_console.print(f"Serving the gallery {worker.gallery_url} and the objects {objects}. Press Ctrl-C to stop.")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    exited = asyncio.create_task(worker.process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({exited, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        raise worker.exit_error()
    stopped.cancel()


def _explain(reason: str, log: Path) -> str:
    return (
        f"{reason}\n\nThe last lines of the worker log ({log}):\n{last_log_lines(log)}\n\n"
        "`creatives doctor` checks models, device and packages; `make install` repairs an installation."
    )
