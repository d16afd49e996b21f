"""Run one training job without Kafka and report the result."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from models.briefs import Brief, StudioPlan, StudioReady, TrainingJob
from streams.cli.local_device import local_device
from streams.cli.terminal import read_settings
from streams.cli.training_report import TrainedProduct, print_report, write_report
from streams.requests import seeds_from
from streams.settings import DeviceSettings


def train_locally(training_job: TrainingJob, folder: Path) -> None:
    """Train or evaluate a product, write the report into `folder` and print it.

    Raises the named errors of the device; exits with code 130 at Ctrl-C.
    """
    settings = read_settings()
    try:
        training_job = replace(training_job, photo_limits=settings.training.photo_limits())
        product = asyncio.run(_train(training_job, settings.studio.plan(), settings.device))
    except KeyboardInterrupt:
        sys.exit(130)
    print_report(product, write_report(product, folder))


async def _train(training_job: TrainingJob, plan: StudioPlan, settings: DeviceSettings) -> TrainedProduct:
    """Load the models, draw the class noun for comparison, and run the job, with progress bars on stderr."""
    async with local_device(plan, settings) as device:
        rendering = await device.render(_class_noun_brief(training_job, device.ready))
        result = await device.train(training_job, _keep_checkpoint)
    return TrainedProduct(training_job, result, rendering.pictures, device.ready)


async def _keep_checkpoint(_step: int, _path: Path) -> None:
    """Do nothing: the checkpoint is already in the product's folder."""


def _class_noun_brief(training_job: TrainingJob, ready: StudioReady) -> Brief:
    prompt = f"a photo of a {training_job.class_noun}"
    seeds = seeds_from(training_job.class_noun, 2)
    return Brief(f"{training_job.request_id}-before", prompt, ready.negative_prompt, seeds, 2)
