"""Objects that somebody else put among the checkpoints of a training job are never written to disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.products.training_job import TrainingRequest, _fetch_checkpoint
from streams.store.keys import checkpoint_prefix
from tests.streams.world import SOURCE, World, product


@pytest.fixture
def request_(world: World) -> TrainingRequest:
    return TrainingRequest(product(), SOURCE, (), "r-1", "concepts/jam/r-1/", world.folder / "training" / "r-1")


def planted_names(outside: Path) -> list[str]:
    return [
        f"/{outside}/evil.pth",
        "../../../evil.pth",
        "checkpoint-000900.pth",
        "checkpoint-000900.safetensors/evil.pth",
        "checkpoint-000900.safetensors\0.pth",
        "zz-evil.pth",
        "concept.safetensors",
        "checkpoint-.safetensors",
        f"checkpoint-{'9' * 230}.safetensors",
        "checkpoint-99999999999.safetensors",
    ]


async def test_only_checkpoints_reach_the_scratch_folder(
    world: World, request_: TrainingRequest, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    prefix = checkpoint_prefix("jam", "r-1")
    for name in planted_names(outside):
        await world.store.put(prefix + name, b"evil", "application/octet-stream")
    await _fetch_checkpoint(request_, world.store)
    assert not request_.folder.exists()
    await world.store.put(f"{prefix}checkpoint-000200.safetensors", b"ours", "application/octet-stream")
    await _fetch_checkpoint(request_, world.store)
    assert [path.name for path in request_.folder.iterdir()] == ["checkpoint-000200.safetensors"]
    assert (request_.folder / "checkpoint-000200.safetensors").read_bytes() == b"ours"
    assert list(outside.iterdir()) == []


async def test_a_planted_checkpoint_does_not_hide_the_real_one(world: World, request_: TrainingRequest) -> None:
    prefix = checkpoint_prefix("jam", "r-1")
    for number in (400, 999999998, 999999999):
        content = b"ours" if number == 400 else b"planted"
        await world.store.put(f"{prefix}checkpoint-{number:06d}.safetensors", content, "application/octet-stream")
    await _fetch_checkpoint(request_, world.store)
    assert (request_.folder / "checkpoint-000400.safetensors").read_bytes() == b"ours"
