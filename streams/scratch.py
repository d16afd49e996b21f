"""The scratch folder on this machine's disk: concept files, class images, training checkpoints.

Names of scratch files may come from object keys and pointers, which others can write. Only `scratch_path` turns such
a name into a path.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streams.failures import ScratchFolderUnsafe
from streams.training_settings import TrainingSettings

_MAX_NAME_BYTES = 255


def scratch_path(folder: Path, name: str) -> Path:
    """Return the path of the file `name` directly in `folder`.

    Raises ValueError if the name could lead anywhere else: a separator, `..`, a NUL, or an existing symbolic link.
    """
    path = folder / name
    plain = name not in {"", ".", ".."} and not any(character in name for character in "/\\\0")
    if not plain or len(os.fsencode(name)) > _MAX_NAME_BYTES or path.is_symlink():
        raise ValueError(f"{name[:80]!r} cannot name a file in the scratch folder")
    return path


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise ScratchFolderUnsafe for every OSError: a full or failing disk is no fault of an event or a host."""
    try:
        yield
    except OSError as error:
        raise ScratchFolderUnsafe(folder=str(folder), detail=error.strerror or type(error).__name__) from error


def newest_first(paths: list[Path]) -> list[Path]:
    """Return the files, the most recently changed first. A file that vanishes counts as the oldest."""

    def changed_at(path: Path) -> float:
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
        return 0.0

    return sorted(paths, key=changed_at, reverse=True)


def workdir(settings: TrainingSettings) -> Path:
    """Create the scratch folder unless it exists, and return it.

    The default lies in the temporary folder, where another local user may already own a link or folder of that name.
    Raises ScratchFolderUnsafe unless it is a folder that only this user can open.
    """
    if settings.workdir:
        folder = Path(settings.workdir)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"creatives-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ScratchFolderUnsafe(folder=str(folder), detail="it is not a folder")
    if found.st_uid != os.getuid():
        raise ScratchFolderUnsafe(folder=str(folder), detail="it belongs to another user")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    return folder
