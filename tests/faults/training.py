"""The scenario in which trainers die again and again: 16. The learner is the real one, on a tiny random family."""

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
from tests.faults.ground import Ground
from tests.faults.invariants import Auditor
from tests.faults.nodes import free_port
from tests.faults.processes import Worker, come_true

DEVICE = "real studio, tiny random weights"
OVERRIDES = {
    "CREATIVES_ROLE": "train",
    "CREATIVES_DEVICE__DEADLINE": "60",
    "CREATIVES_DEVICE__START_DEADLINE": "300",
    "CREATIVES_KAFKA__INSTANCE_ID": "trainer",  # whoever comes next takes the partitions over at once
    "CREATIVES_TRAINING__CHECKPOINT_EVERY": "20",
    "CREATIVES_TRAINING__CHECKPOINT_SECONDS": "0",
    "FAULT_ENTRY": "models.serving:serve",
}
DISKS = "abba"  # in turn: a trainer finds the disk of the one before it, or another with an older state or none
LOOK = 0.02  # seconds between two looks at a trainer
PATIENCE = 300.0  # seconds: a busy machine takes a minute and more to load torch


@dataclass(frozen=True)
class Product:
    """A product to register. kills: how many trainers die over it."""

    name: str
    class_noun: str
    method: str
    steps: int
    kills: int = 5

    @property
    def event_id(self) -> str:
        return f"row-16-{self.name}"

    def targets(self, chance: random.Random, kills: int) -> list[int]:
        """Return the steps at which a trainer dies, ascending, so that whoever resumes gets a little further."""
        return sorted(chance.sample(range(1, self.steps - 10), kills))


PRODUCTS = (
    Product("jam", "jar of jam", "textual_inversion", 300),
    Product("milk", "carton of milk", "dreambooth", 200),
)


async def trainer_killed(ground: Ground, auditor: Auditor, short: bool) -> str:
    """SIGKILL to every trainer but the last of each product, at random steps; what is learned must not show it."""
    plan = await asyncio.to_thread(_tiny_family, ground.folder / "family")
    chance, torment = random.Random(16), Torment(ground, auditor, plan)
    for product in PRODUCTS:
        await torment.over(product, product.targets(chance, 2 if short else product.kills))
        await _one_of_each(ground, auditor, product)
    if left := await ground.store.list("checkpoints/"):
        auditor.violations.append(f"checkpoints left: {left}")
    alike = "not trained again undisturbed" if short else await _undisturbed(ground, plan, auditor)
    return f"killed at steps {', '.join(torment.killed)}, on two disks in turn; {alike}"


@dataclass
class Torment:
    """Trainers that follow each other on two disks, each killed at a step of its own."""

    ground: Ground
    auditor: Auditor
    plan: dict[str, str]
    killed: list[str] = field(default_factory=list)
    _disks: Iterator[str] = field(default_factory=lambda: cycle(DISKS))

    async def over(self, product: Product, targets: list[int]) -> None:
        """Register a product, kill its trainers at the targets, let the last one finish."""
        await _register(self.ground, product)
        stored = 0
        for target in targets:
            worker, port = await self._trainer(product, stored)
            step = await _reached(port, target, product)
            stored = max([0, *await _checkpoints(self.ground)])
            worker.kill()
            await worker.ended()
            self.ground.fault("SIGKILL")
            self.killed.append(f"{step} of {product.steps}")
        worker, _ = await self._trainer(product, stored)
        await come_true(lambda: bool(self.auditor.values.get(("event", product.event_id))), PATIENCE)
        await worker.leave()

    async def _trainer(self, product: Product, stored: int) -> tuple[Worker, int]:
        """Start a trainer and see it go on from the step that the store holds, at least."""
        port, name = free_port(), f"trainer-{len(self.ground.workers) + 1}"
        worker = await _start(self.ground, name, self.plan, next(self._disks), CREATIVES_WEB__PORT=str(port))
        step = await _reached(port, 0, product)
        if step < stored:
            self.auditor.violations.append(f"{product.name}: {name} began at {step}, the store held step {stored}")
        return worker, port


async def _reached(port: int, step: int, product: Product) -> int:
    """Wait until the trainer is at the step, or past it; return where it is."""
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(trust_env=False) as client:
        while True:
            await asyncio.sleep(LOOK)
            try:
                device = (await client.get(f"http://127.0.0.1:{port}/status")).json()["device_process"]
            except httpx.HTTPError:
                continue  # it still starts
            done = {"train": device["done"], "evaluate": product.steps}.get(device["stage"], -1)
            if done >= step:
                return int(done)


async def _one_of_each(ground: Ground, auditor: Auditor, product: Product) -> None:
    """Look for more than one product-ready, and for more than one concept."""
    announced = auditor.values["event", product.event_id]
    stored = [key for key in await ground.store.list(f"concepts/{product.name}/") if key.endswith(".safetensors")]
    if (len(announced), len(stored)) != (1, 1):
        auditor.violations.append(f"{product.name}: {len(announced)} product-ready, concepts {stored}")


def _tiny_family(folder: Path) -> dict[str, str]:
    from tests import tiny

    plan = tiny.family(folder, size=64)
    names = ("diffusion", "reranking", "upscaling", "device", "steps", "size", "bucket", "threads")
    return {f"CREATIVES_STUDIO__{name.upper()}": str(getattr(plan, name)) for name in names}


async def _start(ground: Ground, name: str, plan: dict[str, str], disk: str, **more: str) -> Worker:
    scratch = str(ground.folder / f"disk-{disk}")
    return await ground.worker(name, supervised=False, CREATIVES_TRAINING__WORKDIR=scratch, **plan, **more)


async def _register(ground: Ground, product: Product) -> None:
    photos = sorted((ROOT / "docs" / "examples" / "products" / product.name).glob("*.png"))
    for photo in photos:
        await ground.store.put(f"photos/{product.name}/{photo.name}", photo.read_bytes(), "image/png")
    await ground.emit({
        "event_id": product.event_id,
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": product.name,
        "name": product.name,
        "class_noun": product.class_noun,
        "images": [ground.store.uri(f"photos/{product.name}/{photo.name}") for photo in photos],
        "method": product.method,
        "steps": product.steps,
    })  # fmt: skip


async def _checkpoints(ground: Ground) -> list[int]:
    """Return the steps of the checkpoints that the store holds."""
    keys = await ground.store.list("checkpoints/")
    return [int(key.rsplit("checkpoint-", 1)[1].split(".")[0]) for key in keys]


async def _undisturbed(ground: Ground, plan: dict[str, str], auditor: Auditor) -> str:
    """Teach the same products once more, elsewhere and without a fault: concepts and samples must be the same bytes."""
    place = Ground(ground.cluster, f"{ground.name}-undisturbed", ground.folder, OVERRIDES)
    async with place, Auditor(place) as other:
        await _start(place, "alone", plan, "undisturbed")
        for product in PRODUCTS:
            await _register(place, product)
        await come_true(lambda: len(other.values) == len(PRODUCTS), 2 * PATIENCE)
        whole, resumed = _announced(other), _announced(auditor)
    if whole != resumed:
        auditor.violations.append(f"what was learned differs from an undisturbed training: {resumed}, {whole}")
        return "what was learned differs from an undisturbed training"
    return f"{len(whole)} concepts with samples are those of an undisturbed training, byte for byte"


def _announced(auditor: Auditor) -> dict[str, list[Any]]:
    """Return the sha256 of each product's concept and of its samples."""
    found = {}
    for product in PRODUCTS:
        [(_, value)] = set(auditor.values["event", product.event_id])
        ready = json.loads(value)
        found[product.name] = [ready.get("concept_sha256"), *(image["sha256"] for image in ready.get("images", []))]
    return found
