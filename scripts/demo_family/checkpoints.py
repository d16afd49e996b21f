"""Checkpoints that survive a kill at any moment: written beside, then renamed."""

import os
from pathlib import Path
from typing import Any

import torch


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state` so that `path` holds either the old or the new checkpoint, never a part of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The checkpoint at `path`, or None before the first one."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
