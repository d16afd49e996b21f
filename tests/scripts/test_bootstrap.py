"""scripts/bootstrap, with fake interpreters, a fake uv and without a network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
# A Python of version $VERSION. MODULES: `yes` if it has venv and reaches a package index.
echo "python $*" >> calls
case "$*" in
  *"(3, 11) <="*) [ "$VERSION" = 3.11 ] || [ "$VERSION" = 3.12 ] ;;
  *"< (3, 9)"*) [ "$VERSION" != 3.8 ] ;;
  "-m venv"*)
    [ "$MODULES" = yes ] || { echo "Error: ensurepip is not available"; exit 1; }
    mkdir -p .uv/python/bin && cp "$0" .uv/python/bin/python ;;
  "-m pip"*) grep -q '^uv==.* ' .uv/requirements.txt && cp fake-uv .uv/python/bin/uv ;;
esac
"""
UV = """#!/bin/sh
# FOUND: the version of the Python that uv finds or fetches, empty if there is none.
echo "uv $*" >> calls
case "$1" in
  --version) echo "uv 1.2.3 (build)" ;;
  venv)
    [ -n "$FOUND" ] || { echo "error: no interpreter found"; echo more; exit 2; }
    mkdir -p .venv/bin
    sed "s/\\$VERSION/$FOUND/g" fake-python > .venv/bin/python
    chmod +x .venv/bin/python ;;
esac
"""
LOCK = "torch==2 \\\n    --hash=sha256:00\n    # via x\nuv==1.2.3 \\\n    --hash=sha256:11\n    # via x\nzstd==1 \\\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "bootstrap", tmp_path / "scripts")
    (tmp_path / "requirements.lock").write_text(LOCK)
    for name, text in (("fake-python", PYTHON), ("fake-uv", UV)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def bootstrap(project: Path, version: str, found: str = "", modules: str = "yes") -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "VERSION": version, "FOUND": found, "MODULES": modules}
    command = [project / "scripts" / "bootstrap", project / "fake-python"]
    return subprocess.run(command, env=environ, check=False, capture_output=True, text=True)


def calls(project: Path, program: str) -> list[str]:
    return [line for line in (project / "calls").read_text().splitlines() if line.startswith(program)]


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("found", ["3.11", "3.12"])
def test_any_recent_python_makes_a_venv_of_a_supported_one(project: Path, version: str, found: str) -> None:
    done = bootstrap(project, version, found)
    assert (done.returncode, done.stderr) == (0, "")
    assert "uv venv --quiet --clear --python >=3.11,<3.13 .venv" in calls(project, "uv")
    assert "uv==1.2.3" in (project / ".uv" / "requirements.txt").read_text()
    assert "torch" not in (project / ".uv" / "requirements.txt").read_text()
    (project / "calls").unlink()
    assert bootstrap(project, version, "").stdout == ""  # the second time there is nothing to do
    assert not any("venv" in call or "pip" in call for call in calls(project, ""))


def test_without_a_supported_python_and_a_network_one_line_names_what_to_install(project: Path) -> None:
    done = bootstrap(project, "3.14")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(
        "No Python 3.11 or 3.12 is installed, and uv could not fetch one (error: no interpreter found)"
    )
    assert "apt-get install python3.12" in line


def test_an_old_python_is_refused_in_one_line(project: Path) -> None:
    done = bootstrap(project, "3.8", "3.12")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "older than 3.9" in done.stderr


def test_a_python_that_cannot_install_uv_is_refused_in_one_line(project: Path) -> None:
    done = bootstrap(project, "3.13", "3.12", modules="no")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "(Error: ensurepip is not available)" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_a_venv_of_an_unsupported_python_is_replaced(project: Path) -> None:
    assert bootstrap(project, "3.14", "3.12").returncode == 0
    (project / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    assert bootstrap(project, "3.14", "3.11").returncode == 0


def test_make_install_starts_with_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "\t@scripts/bootstrap $(PYTHON)\n" in makefile
    assert ".uv/bin/uv pip sync --python $(BIN)/python --require-hashes" in makefile
