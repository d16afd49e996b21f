"""The scratch folder: private, and no name leads out of it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from models.errors import ScratchDiskUnusable
from streams import scratch
from streams.failures import ScratchFolderUnsafe
from streams.scratch import scratch_folder, scratch_path, workdir
from streams.training_settings import TrainingSettings


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/passwd", "//etc/passwd", "../x", "a/../../x", "a/b", "a\\b", "a\0b", "x" * 256, "ż" * 128],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        scratch_path(tmp_path, name)


def test_a_link_that_waits_for_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="cannot name a file"):
        scratch_path(tmp_path, "link")
    assert scratch_path(tmp_path, "checkpoint-000100.safetensors") == tmp_path / "checkpoint-000100.safetensors"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_default_folder_is_private(temporary: Path) -> None:
    folder = workdir(TrainingSettings())
    assert folder.parent == temporary
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    assert stat.S_IMODE(workdir(TrainingSettings()).stat().st_mode) == 0o700


def test_a_link_in_its_place_is_refused(temporary: Path) -> None:
    victim = temporary / "victim"
    victim.mkdir()
    folder = workdir(TrainingSettings())
    folder.rmdir()
    folder.symlink_to(victim)
    with pytest.raises(ScratchFolderUnsafe, match="not a folder"):
        workdir(TrainingSettings())


def test_a_configured_folder_is_created(tmp_path: Path) -> None:
    folder = workdir(TrainingSettings(workdir=str(tmp_path / "a" / "b")))
    assert folder.is_dir()


def test_a_configured_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's folder is accepted: it may be a mounted volume."""
    assert workdir(TrainingSettings(workdir="/usr")) == Path("/usr")
    planted = tmp_path / "planted"
    planted.mkdir()
    if os.getuid() == 0:
        os.chown(planted, 65534, 65534)
    else:
        monkeypatch.setattr(scratch.os, "getuid", lambda: os.geteuid() + 1)
    (tmp_path / "link").symlink_to("planted")
    for name in ("planted", "link"):
        with pytest.raises(ScratchFolderUnsafe, match="belongs to another user"):
            workdir(TrainingSettings(workdir=str(tmp_path / name)))


def test_a_link_in_a_configured_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "concepts").symlink_to(tmp_path / "victim")
    with pytest.raises(ScratchDiskUnusable, match="symbolic link"):
        scratch_folder(TrainingSettings(workdir=str(tmp_path / "work")), "concepts")
