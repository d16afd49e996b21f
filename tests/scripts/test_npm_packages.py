"""Packages are checked by hash."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from scripts import npm_packages


def test_a_changed_package_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_bytes(b"content")
    npm_packages.check(archive, "a@1", base64.b64encode(hashlib.sha512(b"content").digest()).decode())
    with pytest.raises(npm_packages.PackageChanged, match="a@1"):
        npm_packages.check(archive, "a@1", base64.b64encode(hashlib.sha512(b"other").digest()).decode())


def test_an_unpacked_package_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "@scope+a@1").mkdir()
    (tmp_path / "@scope+a@1" / "complete").touch()
    assert npm_packages.unpacked("@scope/a@1", "", tmp_path) == tmp_path / "@scope+a@1" / "package"
