"""Packages from the npm registry: fetched by name, checked by hash, unpacked once."""

import base64
import hashlib
import subprocess
import tarfile
from pathlib import Path


class PackageChanged(RuntimeError):
    """A fetched package does not have the hash that the caller was written for."""


def unpacked(name: str, sha512: str, folder: Path) -> Path:
    """Fetch package `name` (as "name@version") into `folder` if it is not there. Return its root.

    sha512: in base64, as npm writes it. Raises PackageChanged.
    """
    root = folder / name.replace("/", "+")
    if (root / "complete").exists():
        return root / "package"
    folder.mkdir(parents=True, exist_ok=True)
    listing = subprocess.run(["npm", "pack", name, "--silent"], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / listing.stdout.split()[-1]
    check(archive, name, sha512)
    with tarfile.open(archive) as files:
        files.extractall(root, filter="data")
    (root / "complete").touch()
    archive.unlink()
    return root / "package"


def check(archive: Path, name: str, sha512: str) -> None:
    """Compare the archive's SHA-512 with the expected one. Raises PackageChanged."""
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != sha512:
        raise PackageChanged(name)
