#!/usr/bin/env python3
"""Look up every package of requirements.lock in the OSV database of vulnerabilities (https://osv.dev).

    scripts/audit.py

scripts/supply_chain/accepted.txt lists the vulnerabilities that do not concern this project, each with its reason.
Exit codes: 0 nothing found; 1 vulnerabilities found; 3 the database cannot be reached, so nothing was checked.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.supply_chain.lock import Package, read  # noqa: E402

SERVICE = "https://api.osv.dev"
ACCEPTED = ROOT / "scripts" / "supply_chain" / "accepted.txt"
_SECONDS = 30.0
_UNREACHABLE = 3


def audit(packages: Sequence[Package], service: str, accepted: set[str]) -> list[str]:
    """Return one line per vulnerability that is not accepted. Raises OSError or ValueError if there is no answer."""
    queries = [
        {"package": {"ecosystem": "PyPI", "name": package.name}, "version": package.version} for package in packages
    ]
    results = _call(f"{service}/v1/querybatch", {"queries": queries})["results"]
    lines = []
    for package, result in zip(packages, results, strict=True):
        for found in result.get("vulns") or ():
            vulnerability = _call(f"{service}/v1/vulns/{found['id']}")
            names = {vulnerability["id"], *vulnerability.get("aliases", ())}
            if not names & accepted:
                summary = vulnerability.get("summary") or vulnerability.get("details", "")[:100]
                fixed = ", ".join(_fixed_versions(vulnerability, package)) or "none"
                lines.append(
                    f"{package.name} {package.version}: {', '.join(sorted(names))}: {summary} (fixed: {fixed})"
                )
    return lines


def accepted_ids(path: Path = ACCEPTED) -> set[str]:
    """Return the ids in the file. Raises ValueError for a line without a reason."""
    ids = set()
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            identifier, _, reason = line.partition(" ")
            if not reason.strip():
                raise ValueError(f"{path.name}: {identifier} needs a reason")
            ids.add(identifier)
    return ids


def _fixed_versions(vulnerability: dict[str, Any], package: Package) -> list[str]:
    ranges = [
        version_range
        for affected in vulnerability.get("affected", ())
        if affected.get("package", {}).get("name", "").lower() == package.name.lower()
        for version_range in affected.get("ranges", ())
    ]
    return [event["fixed"] for each in ranges for event in each.get("events", ()) if "fixed" in event]


def _call(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - https or a test
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", default=SERVICE, help="address of the database or of a mirror")
    options = parser.parse_args()
    packages, accepted = read(), accepted_ids()
    try:
        lines = audit(packages, options.service, accepted)
    except (OSError, ValueError, KeyError) as error:
        print(f"The audit did not run: {options.service} cannot be reached or used ({error}).", file=sys.stderr)
        print("Run it on a machine with a network, or name a mirror with --service.", file=sys.stderr)
        return _UNREACHABLE
    print("\n".join(lines) or f"{len(packages)} packages, no known vulnerability ({len(accepted)} accepted)")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
