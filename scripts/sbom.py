#!/usr/bin/env python3
"""Write a software bill of materials (CycloneDX 1.6, JSON) of every package in requirements.lock.

    scripts/sbom.py build/sbom.json

It lists name, version, sha256 of every file that the lock file accepts, the licence where the package is installed
here, and which package needs which. The same lock file and environment give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
import uuid
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.supply_chain.lock import LOCK, Package, normalize, read  # noqa: E402

_LONGEST_LICENCE = 100  # a longer `License` field holds the licence's whole text


def sbom(packages: Sequence[Package], lock_digest: str) -> dict[str, Any]:
    """Return the document. lock_digest: sha256 of the lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    root = {
        "type": "application",
        "bom-ref": project["name"],
        "name": project["name"],
        "version": project["version"],
        "licenses": [{"expression": project["license"]}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, lock_digest)}",
        "version": 1,
        "metadata": {
            "component": root,
            "properties": [{"name": "fluence:requirements.lock:sha256", "value": lock_digest}],
        },
        "components": [_component(package) for package in packages],
        "dependencies": _dependencies(project["name"], packages),
    }


def _component(package: Package) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
    }
    if licences := _licences(package):
        component["licenses"] = licences
    if package.marker:
        component["properties"] = [{"name": "fluence:marker", "value": package.marker}]
    return component


def _licences(package: Package) -> list[dict[str, Any]]:
    """Return the licence that the installed package states; an empty list if it states none or is not installed."""
    try:
        fields: Any = metadata(package.name)
    except PackageNotFoundError:
        return []
    if expression := fields.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = fields.get_all("Classifier") or []
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: OSI Approved :: ")]
    stated = (fields.get("License") or "").strip()
    if not names and stated and len(stated) <= _LONGEST_LICENCE and "\n" not in stated:
        names = [stated]
    return [{"license": {"name": name}} for name in names]


def _dependencies(root: str, packages: Sequence[Package]) -> list[dict[str, Any]]:
    """Return what each package needs. A name may stand for several versions, each for other platforms."""
    references = defaultdict(list, {normalize(root): [root]})
    for package in packages:
        references[normalize(package.name)].append(package.purl)
    needs: dict[str, set[str]] = {reference: set() for names in references.values() for reference in names}
    for package in packages:
        for dependent in package.required_by:
            for reference in references[normalize(dependent)]:
                needs[reference].add(package.purl)
    return [{"ref": reference, "dependsOn": sorted(names)} for reference, names in sorted(needs.items())]


def main() -> int:
    """Run the command line."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    packages, path = read(), Path(sys.argv[1])
    document = sbom(packages, hashlib.sha256(LOCK.read_bytes()).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    licensed = sum("licenses" in component for component in document["components"])
    print(f"{path}: {len(packages)} packages, {licensed} with a licence")
    return 0


if __name__ == "__main__":
    sys.exit(main())
