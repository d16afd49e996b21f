"""Files on a local disk that several processes share: locks, partial files, and errors of the disk.

A lock is a `flock` on an open file. The kernel releases it when its process ends, even one that is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from models.errors import ScratchDiskUnusable

T = TypeVar("T")

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_SYNC_BYTES = 64 * 2**20  # the disk takes a second or two for them, so a writer can report progress after each


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn every OSError of the block into ScratchDiskUnusable: a full disk, a quota, a read-only or damaged disk."""
    try:
        yield
    except OSError as error:
        raise ScratchDiskUnusable(folder=str(folder), detail=error.strerror or str(error)) from error


def private_folder(folder: Path) -> Path:
    """Create the folder and its missing parents, and let nobody but this user open it. Return the folder.

    Raises ScratchDiskUnusable, also for a link or another user's folder: both may lead to files that are not ours.
    """
    with disk_errors(folder):
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, "it is a symbolic link")
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it belongs to another user")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


def never_room() -> bool:
    """Free nothing: the default `make_room` of a partial file."""
    return False


class PartialFile:
    """A file under construction, beside the path that it will have. It is locked, so `delete_partials` spares it.

    make_room: called while the disk is full, with no file half written; returns whether it freed some space.
    """

    def __init__(self, path: Path, make_room: Callable[[], bool] = never_room) -> None:
        self.path = path
        self._make_room = make_room
        self._unsynced = 0
        with disk_errors(path.parent):
            self._name, self._file = self._until_room(self._create)

    def write(self, chunk: bytes | memoryview) -> None:
        """Append a chunk. Each one is on the disk, or on its way there, before the next. Raises ScratchDiskUnusable."""
        rest = memoryview(chunk)
        with disk_errors(self.path.parent):
            while rest:
                left = rest
                rest = rest[self._until_room(lambda: os.write(self._file, left)) :]  # noqa: B023 - called at once
            self._unsynced += len(chunk)
            if self._unsynced >= _SYNC_BYTES:
                self._sync()

    def stat(self) -> os.stat_result:
        """Return the state of the file, which keeps its inode when it is committed."""
        return os.fstat(self._file)

    def commit(self, *, overwrite: bool = True) -> None:
        """Give the file its name. Without `overwrite`, an existing file of that name stays: it may be in use."""
        with disk_errors(self.path.parent):
            self._sync()
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_SH)  # from now on others may hold it too
            if overwrite or not self._link():
                self._name.replace(self.path)

    def close(self) -> None:
        """Release the lock, and delete the file unless it was committed."""
        os.close(self._file)
        with suppress(OSError):  # a disk that fails has failed the write already
            self._name.unlink()

    def _create(self) -> tuple[Path, int]:
        while True:
            name = self.path.with_name(f"{self.path.stem}.{secrets.token_hex(4)}.part")
            file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            with suppress(OSError):  # some file systems have no locks; the file is then like one of a killed process
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(name, file):  # otherwise `delete_partials` came between
                return name, file
            os.close(file)

    def _sync(self) -> None:
        self._until_room(lambda: os.fsync(self._file))
        self._unsynced = 0

    def _link(self) -> bool:
        """Link the file to its path. Returns whether there is a file now; a few file systems have no links."""
        try:
            self.path.hardlink_to(self._name)
        except OSError as error:
            return isinstance(error, FileExistsError)
        return True

    def _until_room(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except OSError as error:
                if error.errno not in _DISK_FULL or not self._make_room():
                    raise


@contextmanager
def partial_file(path: Path, make_room: Callable[[], bool] = never_room) -> Iterator[PartialFile]:
    """Yield a file to write and commit. It leaves nothing behind if it is not committed."""
    file = PartialFile(path, make_room)
    try:
        yield file
    finally:
        file.close()


def delete_partials(folder: Path) -> None:
    """Delete the partial files in `folder` whose writers are gone."""
    for path in folder.glob("*.part*"):
        delete_unused(path)


def hold_file(path: Path) -> int | None:
    """Open the file and lock it against `delete_unused`. Return its descriptor, or None if there is no file.

    Closing the descriptor releases the lock. Raises ScratchDiskUnusable, also on a file system without locks.
    """
    with disk_errors(path.parent), suppress(FileNotFoundError, BlockingIOError):  # blocking: it is being deleted
        file = os.open(path, os.O_RDONLY)
        with _closed_on_error(file):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if not _is_at(path, file):
                raise FileNotFoundError(path)  # it was deleted before the lock
        return file
    return None


def delete_unused(path: Path) -> bool:
    """Delete the file unless a process holds or writes it. Return whether it was deleted."""
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                path.unlink()
                return True
        finally:
            os.close(file)
    return False


def oldest_first(paths: Iterable[Path]) -> list[tuple[Path, int]]:
    """Return the paths with their sizes in bytes, the least recently changed first. Leaves out those that vanish.

    The size of a folder is that of the files directly in it.
    """
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            files = list(path.iterdir()) if path.is_dir() else [path]
            found.append((path.stat().st_mtime, path, sum(file.stat().st_size for file in files)))
    return [(path, size) for _, path, size in sorted(found)]


@contextmanager
def _closed_on_error(file: int) -> Iterator[None]:
    try:
        yield
    except OSError:
        os.close(file)
        raise


def _is_at(path: Path, file: int) -> bool:
    """Return whether `path` still leads to the open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False
