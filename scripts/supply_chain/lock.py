"""The packages of requirements.lock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(;\s*(?P<marker>.*?))?\s*\\$")
_HASH = re.compile(r"^\s+--hash=sha256:(?P<digest>[0-9a-f]{64})")
_VIA = re.compile(r"^\s+# {1,3}(via )?(?P<name>[A-Za-z0-9._-]+)( \(.*\))?$")


@dataclass(frozen=True)
class Package:
    """A pinned package. marker: where it is installed, None everywhere. hashes: sha256 of each of its files.

    required_by: names of the packages that need it.
    """

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]
    required_by: tuple[str, ...]

    @property
    def purl(self) -> str:
        """The package URL, such as `pkg:pypi/torch@2.9.1`."""
        return f"pkg:pypi/{normalize(self.name)}@{self.version.replace('+', '%2B')}"


def normalize(name: str) -> str:
    """Return a package name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path: Path = LOCK) -> list[Package]:
    """Return the packages in the order of the file. Raises ValueError for a line that it does not know."""
    blocks: list[tuple[re.Match[str], list[str]]] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if match := _PIN.match(line):
            blocks.append((match, []))
        elif line.startswith((" ", "\t")) and blocks:
            blocks[-1][1].append(line)
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"{path.name}:{number}: this line is no pinned package: {line[:80]}")
    return [_package(match, lines) for match, lines in blocks]


def _package(pin: re.Match[str], lines: list[str]) -> Package:
    hashes = tuple(match["digest"] for line in lines if (match := _HASH.match(line)))
    via = tuple(match["name"] for line in lines if (match := _VIA.match(line)) and match["name"] != "via")
    return Package(pin["name"], pin["version"], pin["marker"], hashes, via)
