from __future__ import annotations

from pathlib import Path

import pytest

from tests.streams.products.photo_host import certificate, host
from tests.streams.world import World

__all__ = ["certificate", "host", "world"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
