"""Objects that somebody else put among the checkpoints of a training job are never written to disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streams.failures import ObjectRefused
from streams.products.training_job import TrainingRequest, _fetch_checkpoint, _store_checkpoint
from streams.store.keys import checkpoint_prefix, manifest_key
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
    await _fetch_checkpoint(request_, world.store, 1000)
    assert not request_.folder.exists()
    await world.store.put(f"{prefix}checkpoint-000200.safetensors", b"ours", "application/octet-stream")
    await _fetch_checkpoint(request_, world.store, 1000)
    assert [path.name for path in request_.folder.iterdir()] == ["checkpoint-000200.safetensors"]
    assert (request_.folder / "checkpoint-000200.safetensors").read_bytes() == b"ours"
    assert list(outside.iterdir()) == []


async def test_a_planted_checkpoint_does_not_hide_the_real_one(world: World, request_: TrainingRequest) -> None:
    prefix = checkpoint_prefix("jam", "r-1")
    for number in (400, 999999998, 999999999):
        content = b"ours" if number == 400 else b"planted"
        await world.store.put(f"{prefix}checkpoint-{number:06d}.safetensors", content, "application/octet-stream")
    await _fetch_checkpoint(request_, world.store, 1000)
    assert (request_.folder / "checkpoint-000400.safetensors").read_bytes() == b"ours"


async def test_a_checkpoint_that_is_too_large_is_skipped_with_one_warning(
    world: World, request_: TrainingRequest
) -> None:
    prefix = checkpoint_prefix("jam", "r-1")
    world.store.objects |= {
        f"{prefix}checkpoint-000400.safetensors": b"ours",
        f"{prefix}checkpoint-999999999.safetensors": bytes(1001),
    }
    with capture_logs() as logs:
        await _fetch_checkpoint(request_, world.store, 1000)
    assert [path.name for path in request_.folder.iterdir()] == ["checkpoint-000400.safetensors"]
    assert [(line["event"], line["log_level"]) for line in logs] == [("ignoring an unusable checkpoint", "warning")]
    assert "is larger than 1000 bytes" in logs[0]["reason"]


async def test_a_checkpoint_that_the_store_refuses_is_skipped(world: World, request_: TrainingRequest) -> None:
    def fail(operation: str, key: str) -> None:
        if operation == "get":
            raise ObjectRefused(uri=key, detail="encrypted with a key of its writer")

    world.store.objects[checkpoint_prefix("jam", "r-1") + "checkpoint-000400.safetensors"] = b"planted"
    world.store.fail = fail
    await _fetch_checkpoint(request_, world.store, 1000)
    assert list(request_.folder.iterdir()) == []


async def test_a_planted_manifest_deletes_no_checkpoint(
    world: World, request_: TrainingRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is not loaded beyond the size that a manifest may have."""
    limits: list[int | None] = []
    get = world.store.get
    monkeypatch.setattr(world.store, "get", lambda key, limit=None: limits.append(limit) or get(key, limit))
    key = manifest_key(request_.prefix)
    path = tmp_path / "checkpoint-000200.safetensors"
    path.write_bytes(b"ours")
    for content in (b"planted", b'{"signature":"' + b"0" * 64 + b'"}'):
        world.store.objects[key] = content
        await _store_checkpoint(request_, world.tools.signed, path)
        assert world.keys("checkpoints/") == [checkpoint_prefix("jam", "r-1") + path.name]
    assert None not in limits
