"""Photo files for training jobs, named by their content."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from models.photo_files import PhotoFile

_FOLDER = tempfile.TemporaryDirectory(prefix="photos-")


def photo_file(content: bytes) -> PhotoFile:
    """Return a photo file with this content. It is deleted at the end of the test run."""
    digest = hashlib.sha256(content).hexdigest()
    path = Path(_FOLDER.name) / digest
    path.write_bytes(content)
    return PhotoFile(str(path), digest)
