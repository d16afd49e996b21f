"""Scenario 16: trainers are killed repeatedly. The learner is the real one, on a tiny random family."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from tests.faults.cluster import ROOT
from tests.faults.invariants import InvariantChecker
from tests.faults.nodes import free_port
from tests.faults.processes import WorkerProcess, wait_until
from tests.faults.testbed import Testbed

DEVICE = "real studio, tiny random weights"
OVERRIDES = {
    "CREATIVES_ROLE": "train",
    "CREATIVES_DEVICE__DEADLINE": "60",
    "CREATIVES_DEVICE__START_DEADLINE": "300",
    "CREATIVES_KAFKA__INSTANCE_ID": "trainer",  # the next trainer takes over the partitions at once
    "CREATIVES_TRAINING__CHECKPOINT_EVERY": "20",
    "CREATIVES_TRAINING__CHECKPOINT_SECONDS": "0",
    "FAULT_ENTRY": "models.serving:serve",
}
DISKS = "abba"  # in turn: the next trainer finds the disk of the last one, or a disk with an older state or none
POLL_INTERVAL = 0.02  # seconds
TIMEOUT = 300.0  # seconds; a busy machine needs more than a minute to load torch


@dataclass(frozen=True)
class Product:
    """A product to register. kills: how many trainers are killed while they train on it."""

    name: str
    class_noun: str
    method: str
    steps: int
    kills: int = 5

    @property
    def event_id(self) -> str:
        return f"row-16-{self.name}"

    def targets(self, chance: random.Random, kills: int) -> list[int]:
        """Return the steps at which a trainer is killed, ascending, so that each trainer gets further than the last."""
        return sorted(chance.sample(range(1, self.steps - 10), kills))


PRODUCTS = (
    Product("jam", "jar of jam", "textual_inversion", 300),
    Product("milk", "carton of milk", "dreambooth", 200),
)


async def trainer_killed(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """SIGKILL every trainer but the last of each product at random steps; the concepts must be those without kills."""
    plan = await asyncio.to_thread(_tiny_family, testbed.folder / "family")
    chance, kills = random.Random(16), TrainerKills(testbed, checker, plan)
    for product in PRODUCTS:
        await kills.train(product, product.targets(chance, 2 if short else product.kills))
        await _expect_one_result(testbed, checker, product)
    leftover = await testbed.store.list("checkpoints/")
    checker.expect(not leftover, f"checkpoints left: {leftover}")
    comparison = "not trained again without kills" if short else await _compare_without_kills(testbed, plan, checker)
    return f"killed at steps {', '.join(kills.killed)}, on two disks in turn; {comparison}"


@dataclass
class TrainerKills:
    """Trainers that follow each other on two disks; each is killed at another step."""

    testbed: Testbed
    checker: InvariantChecker
    plan: dict[str, str]
    killed: list[str] = field(default_factory=list)
    _disks: Iterator[str] = field(default_factory=lambda: cycle(DISKS))

    async def train(self, product: Product, targets: list[int]) -> None:
        """Register a product, kill its trainers at the target steps, and let the last trainer finish."""
        await _register(self.testbed, product)
        stored = 0
        for target in targets:
            worker, port = await self._start_trainer(product, stored)
            step = await _wait_for_step(port, target, product)
            stored = max([0, *await _checkpoints(self.testbed)])
            worker.kill()
            await worker.wait_for_exit()
            self.testbed.record_fault("SIGKILL")
            self.killed.append(f"{step} of {product.steps}")
        worker, _ = await self._start_trainer(product, stored)
        await wait_until(lambda: bool(self.checker.copies.get(("event", product.event_id))), TIMEOUT)
        await worker.terminate()

    async def _start_trainer(self, product: Product, stored: int) -> tuple[WorkerProcess, int]:
        """Start a trainer and wait until it trains; it must continue at the stored step or later."""
        port, name = free_port(), f"trainer-{len(self.testbed.workers) + 1}"
        worker = await _start_worker(self.testbed, name, self.plan, next(self._disks), CREATIVES_WEB__PORT=str(port))
        step = await _wait_for_step(port, 0, product)
        self.checker.expect(step >= stored, f"{product.name}: {name} began at {step}, the store held step {stored}")
        return worker, port


async def _wait_for_step(port: int, step: int, product: Product) -> int:
    """Wait until the trainer has reached the step; return its current step."""
    async with asyncio.timeout(TIMEOUT), httpx.AsyncClient(trust_env=False) as client:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            try:
                device = (await client.get(f"http://127.0.0.1:{port}/status")).json()["device_process"]
            except httpx.HTTPError:
                continue  # the web server has not started
            done = {"train": device["done"], "evaluate": product.steps}.get(device["stage"], -1)
            if done >= step:
                return int(done)


async def _expect_one_result(testbed: Testbed, checker: InvariantChecker, product: Product) -> None:
    """Expect one product-ready event and one concept."""
    announced = checker.copies["event", product.event_id]
    stored = [key for key in await testbed.store.list(f"concepts/{product.name}/") if key.endswith(".safetensors")]
    violation = f"{product.name}: {len(announced)} product-ready, concepts {stored}"
    checker.expect((len(announced), len(stored)) == (1, 1), violation)


def _tiny_family(folder: Path) -> dict[str, str]:
    from tests import tiny

    plan = tiny.family(folder, size=64)
    names = ("diffusion", "reranking", "upscaling", "device", "steps", "size", "bucket", "threads")
    return {f"CREATIVES_STUDIO__{name.upper()}": str(getattr(plan, name)) for name in names}


async def _start_worker(testbed: Testbed, name: str, plan: dict[str, str], disk: str, **more: str) -> WorkerProcess:
    scratch = str(testbed.folder / f"disk-{disk}")
    return await testbed.start_worker(name, supervised=False, CREATIVES_TRAINING__WORKDIR=scratch, **plan, **more)


async def _register(testbed: Testbed, product: Product) -> None:
    photos = sorted((ROOT / "docs" / "examples" / "products" / product.name).glob("*.png"))
    for photo in photos:
        await testbed.store.put(f"photos/{product.name}/{photo.name}", photo.read_bytes(), "image/png")
    await testbed.emit({
        "event_id": product.event_id,
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": product.name,
        "name": product.name,
        "class_noun": product.class_noun,
        "images": [testbed.store.uri(f"photos/{product.name}/{photo.name}") for photo in photos],
        "method": product.method,
        "steps": product.steps,
    })  # fmt: skip


async def _checkpoints(testbed: Testbed) -> list[int]:
    """Return the steps of the checkpoints that the store holds."""
    keys = await testbed.store.list("checkpoints/")
    return [int(key.rsplit("checkpoint-", 1)[1].split(".")[0]) for key in keys]


async def _compare_without_kills(testbed: Testbed, plan: dict[str, str], checker: InvariantChecker) -> str:
    """Train on the same products without faults, in another testbed: concepts and samples must be the same bytes."""
    place = Testbed(testbed.cluster, f"{testbed.name}-undisturbed", testbed.folder, OVERRIDES)
    async with place, InvariantChecker(place) as other:
        await _start_worker(place, "alone", plan, "undisturbed")
        for product in PRODUCTS:
            await _register(place, product)
        await wait_until(lambda: len(other.copies) == len(PRODUCTS), 2 * TIMEOUT)
        whole, resumed = _announced(other), _announced(checker)
    if whole != resumed:
        checker.expect(False, f"concepts or samples differ from a training without kills: {resumed}, {whole}")
        return "concepts or samples differ from a training without kills"
    return f"{len(whole)} concepts with samples are those of a training without kills, byte for byte"


def _announced(checker: InvariantChecker) -> dict[str, list[Any]]:
    """Return the sha256 of each product's concept and of its samples."""
    found = {}
    for product in PRODUCTS:
        [(_, value)] = set(checker.copies["event", product.event_id])
        ready = json.loads(value)
        found[product.name] = [ready.get("concept_sha256"), *(image["sha256"] for image in ready.get("images", []))]
    return found
