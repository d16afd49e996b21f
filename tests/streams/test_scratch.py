"""The scratch folder: private, and no name leads out of it."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from streams.failures import ScratchFolderUnsafe
from streams.scratch import scratch_path, workdir
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
