"""The scenario in which a trainer dies half-way: 16. The learner is the real one, on a tiny random family."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.faults.cluster import ROOT
from tests.faults.ground import Ground
from tests.faults.invariants import Auditor
from tests.faults.processes import Worker, come_true

DEVICE = "real studio, tiny random weights"
OVERRIDES = {
    "CREATIVES_ROLE": "train",
    "CREATIVES_LANE__DEADLINE": "60",
    "CREATIVES_LANE__START_DEADLINE": "300",
    "CREATIVES_TRAINING__CHECKPOINT_EVERY": "20",
    "FAULT_ENTRY": "models.studio:serve",
}
STEPS = 400
PHOTOS = sorted((ROOT / "docs" / "examples" / "products" / "jam").glob("*.png"))


async def trainer_killed(ground: Ground, auditor: Auditor, short: bool) -> str:
    """SIGKILL to a trainer whose newest stored checkpoint is past the half; the next has another local disk."""
    plan = await asyncio.to_thread(_tiny_family, ground.folder / "family")
    first = await _trainer(ground, "first", plan)
    await first.ready(300)
    await _register(ground)
    half = 0
    while half < STEPS // 2:
        await asyncio.sleep(0.2)
        half = max(half, *await _checkpoints(ground), 0)
    first.kill()
    ground.fault("SIGKILL")
    second = await _trainer(ground, "second", plan)
    seen: set[int] = set()
    async with asyncio.timeout(300):
        while not auditor.values:
            seen.update(await _checkpoints(ground))
            await asyncio.sleep(0.2)
    if again := [step for step in seen if step < half]:
        auditor.violations.append(f"learned from the start again: checkpoints {sorted(again)} after {half}")
    await second.leave()
    if left := await ground.store.list("checkpoints/"):
        auditor.violations.append(f"checkpoints left: {left}")
    alike = "not trained again undisturbed" if short else await _undisturbed(ground, plan, auditor)
    return f"killed past step {half} of {STEPS}, went on from there on another disk; {alike}"


def _tiny_family(folder: Path) -> dict[str, str]:
    from tests import tiny

    plan = tiny.family(folder, size=64)
    names = ("diffusion", "reranking", "upscaling", "device", "steps", "size", "bucket", "threads")
    return {f"CREATIVES_STUDIO__{name.upper()}": str(getattr(plan, name)) for name in names}


async def _trainer(ground: Ground, name: str, plan: dict[str, str]) -> Worker:
    scratch = ground.folder / f"disk-of-{name}"
    return await ground.worker(name, supervised=False, CREATIVES_TRAINING__WORKDIR=str(scratch), **plan)


async def _register(ground: Ground) -> None:
    for photo in PHOTOS:
        await ground.store.put(f"photos/jam/{photo.name}", photo.read_bytes(), "image/png")
    await ground.emit({
        "event_id": "row-16-jam",
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": "jam",
        "name": "Malina",
        "class_noun": "jar of jam",
        "images": [ground.store.uri(f"photos/jam/{photo.name}") for photo in PHOTOS],
        "method": "textual_inversion",
        "steps": STEPS,
    })  # fmt: skip


async def _checkpoints(ground: Ground) -> list[int]:
    """Return the steps of the checkpoints that the store holds."""
    keys = await ground.store.list("checkpoints/")
    return [int(key.rsplit("checkpoint-", 1)[1].split(".")[0]) for key in keys]


async def _undisturbed(ground: Ground, plan: dict[str, str], auditor: Auditor) -> str:
    """Teach the same product once more, elsewhere and without a fault: concept and samples must be the same bytes."""
    place = Ground(ground.cluster, f"{ground.name}-undisturbed", ground.folder, OVERRIDES)
    async with place, Auditor(place) as other:
        await _trainer(place, "alone", plan)
        await _register(place)
        await come_true(lambda: bool(other.values), 300)
        whole, resumed = _announced(other), _announced(auditor)
    if whole != resumed:
        auditor.violations.append(f"the concept differs from an undisturbed one: {resumed}, {whole}")
        return "the concept differs from an undisturbed one"
    return f"concept and {len(whole) - 1} samples are those of an undisturbed training, byte for byte"


def _announced(auditor: Auditor) -> list[Any]:
    """Return the sha256 of the concept and of its samples."""
    [(_, value)] = set(auditor.values["event", "row-16-jam"])
    ready = json.loads(value)
    return [ready.get("concept_sha256"), *(image["sha256"] for image in ready.get("images", []))]
