"""The scratch folder on this machine's disk: concept files, class images, training checkpoints.

Names of scratch files may come from object keys and pointers, which others can write. Only `scratch_path` turns such
a name into a path.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from models.local_files import disk_errors, private_folder
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


def workdir(settings: TrainingSettings) -> Path:
    """Create the scratch folder unless it exists, and return it.

    The default lies in the temporary folder, where another local user may already own a link or folder of that name.
    Raises ScratchDiskUnusable, and ScratchFolderUnsafe for a folder of another user, or a default that is no folder.
    """
    if settings.workdir:
        folder = Path(settings.workdir)
        return _operators_folder(folder) if folder.is_dir() else private_folder(folder)
    with disk_errors(Path(tempfile.gettempdir())):
        return _default_folder()


def scratch_folder(settings: TrainingSettings, name: str) -> Path:
    """Create a folder of the scratch folder, private to this user, and return it. Raises as `workdir` does."""
    return private_folder(workdir(settings) / name)


def _operators_folder(folder: Path) -> Path:
    """Return a folder that exists, with its rights as they are. Root may own it, as it owns a mounted volume."""
    with disk_errors(folder):
        owners = {folder.lstat().st_uid, folder.stat().st_uid}  # of a link, and of the folder that it leads to
    if owners - {0, os.getuid()}:
        raise ScratchFolderUnsafe(folder=str(folder), detail="it belongs to another user")
    return folder


def _default_folder() -> Path:
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
