"""The art and its words as npm packages: fetched by name, checked by hash, unpacked once."""

import base64
import hashlib
import subprocess
import tarfile
from pathlib import Path

PACKAGES: dict[str, str] = {
    "@lobehub/fluent-emoji-3d@1.1.0": (
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
    ),
    "@iconify-json/fluent-emoji-flat@1.2.6": (
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="
    ),
    "@iconify-json/noto@1.2.9": (
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="
    ),
    "emojibase-data@17.0.0": (
        "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA=="
    ),
}


class PackageChanged(RuntimeError):
    """A fetched package does not have the hash that this recipe was written for."""


def unpacked(name: str, folder: Path) -> Path:
    """Fetch package `name` (as "name@version") under `folder` unless it is there; returns its root."""
    root = folder / name.replace("/", "+")
    if (root / "complete").exists():
        return root / "package"
    folder.mkdir(parents=True, exist_ok=True)
    listing = subprocess.run(["npm", "pack", name, "--silent"], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / listing.stdout.split()[-1]
    check(archive, name)
    with tarfile.open(archive) as files:
        files.extractall(root, filter="data")
    (root / "complete").touch()
    archive.unlink()
    return root / "package"


def check(archive: Path, name: str) -> None:
    """Compare the archive's SHA-512 with the pinned one; raises PackageChanged."""
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != PACKAGES[name]:
        raise PackageChanged(name)
