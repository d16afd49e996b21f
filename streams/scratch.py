"""The scratch folder on this machine's disk: concept files, class images, training checkpoints."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from streams.training_settings import TrainingSettings


def newest_first(paths: list[Path]) -> list[Path]:
    """Return the files, the most recently changed first. A file that vanishes counts as the oldest."""

    def changed(path: Path) -> float:
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
        return 0.0

    return sorted(paths, key=changed, reverse=True)


def workdir(settings: TrainingSettings) -> Path:
    """Return the scratch folder."""
    return Path(settings.workdir) if settings.workdir else Path(tempfile.gettempdir()) / f"creatives-{os.getuid()}"
