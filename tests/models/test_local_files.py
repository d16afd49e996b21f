"""Files that several processes share: real locks of real processes, and a disk that is full."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import local_files
from models.errors import ScratchDiskUnusable
from models.local_files import (
    PartialFile,
    delete_partials,
    delete_unused,
    hold_file,
    oldest_first,
    partial_file,
    private_folder,
)
from tests.fakes import small_disk

CHILD = """
import sys
from pathlib import Path
from models import local_files
{code}
print("ready", flush=True)
sys.stdin.read()
"""


class Child:
    """Another process, which runs `code` and then waits."""

    def __init__(self, code: str) -> None:
        command = [sys.executable, "-c", CHILD.format(code=code)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[type[Child]]:
    children: list[Child] = []

    class Started(Child):
        def __init__(self, code: str) -> None:
            super().__init__(code)
            children.append(self)

    yield Started
    for child in children:
        child.kill()


def test_a_file_that_another_process_holds_is_deleted_only_after_its_death(tmp_path: Path, start: type[Child]) -> None:
    path = tmp_path / "concept"
    path.write_bytes(b"weights")
    child = start(f"assert local_files.hold_file(Path({str(path)!r}))")
    assert not delete_unused(path)
    child.kill()
    assert delete_unused(path)
    assert hold_file(path) is None


def test_a_partial_file_is_deleted_only_after_its_writer_is_killed(tmp_path: Path, start: type[Child]) -> None:
    child = start(f"local_files.PartialFile(Path({str(tmp_path / 'concept')!r})).write(b'half')")
    (tmp_path / "concept.77.part.0a1b.part.minio").touch()  # of the client that an earlier version used
    delete_partials(tmp_path)
    [partial] = tmp_path.iterdir()
    assert partial.read_bytes() == b"half"
    child.kill()
    delete_partials(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_committed_leaves_nothing_behind(tmp_path: Path) -> None:
    with partial_file(tmp_path / "a") as file:
        file.write(b"half")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_an_existing_file_stays_without_overwrite(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    for content in (b"first", b"second"):
        with partial_file(tmp_path / "a") as file:
            file.write(content)
            file.commit(overwrite=False)
    assert (tmp_path / "a").read_bytes() == (b"first" if links else b"second")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_disk(tmp_path, 10, monkeypatch)
    with pytest.raises(ScratchDiskUnusable) as caught, partial_file(tmp_path / "a") as file:
        file.write(b"x" * 11)
    assert f"The scratch folder {tmp_path} cannot be used: No space left on device." in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_write_goes_on_where_it_stopped_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_bytes(b"o" * 8)
    small_disk(tmp_path, 10, monkeypatch)
    with partial_file(tmp_path / "new", lambda: delete_unused(tmp_path / "old")) as file:
        for chunk in (b"ab", b"cdef", b"ghij"):
            file.write(chunk)
        file.commit()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": b"abcdefghij"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_every_failure_of_the_disk_is_one_named_error(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    def write() -> None:
        with partial_file(tmp_path / "a") as file:
            file.write(b"x")
            file.commit()

    for call in ("open", "write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(local_files.os, call, fail)
            with pytest.raises(ScratchDiskUnusable, match=os.strerror(number)):
                write()


def test_folders_are_private(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b" / "c")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents[:2])} == {0o700}
    folder.chmod(0o755)
    assert stat.S_IMODE(private_folder(folder).stat().st_mode) == 0o700


def test_a_folder_that_leads_elsewhere_or_is_another_users_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to("victim")
    with pytest.raises(ScratchDiskUnusable, match="it is a symbolic link"):
        private_folder(tmp_path / "link")
    monkeypatch.setattr(local_files.os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(ScratchDiskUnusable, match="it belongs to another user"):
        private_folder(tmp_path / "victim")


def test_the_oldest_come_first_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number, name in enumerate(("set/1", "set/2", "new", "old")):
        (tmp_path / name).write_bytes(b"x" * (number + 1))
    for second, name in enumerate(("old", "set", "new")):
        os.utime(tmp_path / name, (second, second))
    assert oldest_first(tmp_path.iterdir()) == [(tmp_path / "old", 4), (tmp_path / "set", 3), (tmp_path / "new", 3)]


def test_a_closed_file_releases_its_lock(tmp_path: Path) -> None:
    file = PartialFile(tmp_path / "a")
    file.write(b"x")
    file.commit()
    assert not delete_unused(tmp_path / "a")
    file.close()
    assert delete_unused(tmp_path / "a")
