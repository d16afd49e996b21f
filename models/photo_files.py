"""The photos of a training job: files on local disk, and the limits for decoding them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PhotoFile:
    """One photo, still encoded. path: of its file on local disk. sha256: of the file."""

    path: str
    sha256: str

    @classmethod
    def at(cls, path: Path) -> PhotoFile:
        """Return the photo in a file. Raises OSError."""
        with path.open("rb") as file:
            return cls(str(path), hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class PhotoLimits:
    """What a job's photos may cost; a photo above a limit is left out.

    pixels: of one photo. total_pixels: of all photos of the job. seconds: processor time to decode one photo.
    """

    pixels: int = 50_000_000
    total_pixels: int = 750_000_000
    seconds: int = 30
