"""The SBOM and the audit, from a lock file and a database of this test's own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.audit import accepted_ids, audit
from scripts.sbom import sbom
from scripts.supply_chain import lock

ROOT = Path(__file__).parents[2]
LOCK = """# a comment
alpha==1.0+cpu ; sys_platform == 'linux' \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via beta
Beta.Pkg==2 \\
    --hash=sha256:{b}
    # via
    #   fluence-creatives (pyproject.toml)
    #   alpha
"""


@pytest.fixture
def packages(tmp_path: Path) -> list[lock.Package]:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK.format(a="a" * 64, b="b" * 64))
    return lock.read(path)


def test_the_lock_file_is_read_whole(packages: list[lock.Package]) -> None:
    alpha, beta = packages
    assert alpha == lock.Package("alpha", "1.0+cpu", "sys_platform == 'linux'", ("a" * 64, "b" * 64), ("beta",))
    assert (beta.name, beta.marker, beta.required_by) == ("Beta.Pkg", None, ("fluence-creatives", "alpha"))
    assert beta.purl == "pkg:pypi/beta-pkg@2"


def test_a_line_that_is_no_pinned_package_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "requirements.lock"
    path.write_text("git+https://example.org/x\n")
    with pytest.raises(ValueError, match=r"requirements\.lock:1"):
        lock.read(path)


def test_the_sbom_lists_every_package_of_the_real_lock_file() -> None:
    real = lock.read()
    text = (ROOT / "requirements.lock").read_text()
    assert len(real) == sum("==" in line and not line.startswith((" ", "#")) for line in text.splitlines())
    assert sum(len(package.hashes) for package in real) == text.count("--hash=sha256:")
    document = sbom(real, "00")
    components = {component["bom-ref"]: component for component in document["components"]}
    assert len(components) == len(real)
    assert all(component["hashes"] and component["version"] for component in components.values())
    assert sum("licenses" in component for component in components.values()) > 0.9 * len(real)
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    assert needs.keys() == {*components, "fluence-creatives"}
    assert set().union(*needs.values()) <= components.keys()
    assert any(name.startswith("pkg:pypi/torch@") for name in needs["fluence-creatives"])
    assert json.dumps(document) == json.dumps(sbom(real, "00"))


class Database(BaseHTTPRequestHandler):
    """An OSV database with one vulnerability in beta-pkg."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        hit = {"vulns": [{"id": "GHSA-1"}]}
        self._answer({"results": [hit if query["package"]["name"] == "Beta.Pkg" else {} for query in queries]})

    def do_GET(self) -> None:
        ranges = [{"events": [{"introduced": "0"}, {"fixed": "2.1"}]}]
        affected = [{"package": {"name": "beta.pkg"}, "ranges": ranges}]
        self._answer({"id": "GHSA-1", "aliases": ["CVE-1"], "summary": "bad", "affected": affected})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def database() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_audit_names_package_ids_and_fix(packages: list[lock.Package], database: str) -> None:
    assert audit(packages, database, set()) == ["Beta.Pkg 2: CVE-1, GHSA-1: bad (fixed: 2.1)"]
    assert audit(packages, database, {"CVE-1"}) == []


def test_an_audit_without_a_database_says_that_nothing_was_checked() -> None:
    command = [sys.executable, ROOT / "scripts" / "audit.py", "--service", "http://127.0.0.1:1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("The audit did not run: http://127.0.0.1:1 cannot be reached")


def test_an_accepted_vulnerability_has_a_reason(tmp_path: Path) -> None:
    assert accepted_ids() == {"CVE-2024-27763"}
    path = tmp_path / "accepted.txt"
    path.write_text("# comment\nCVE-1\n")
    with pytest.raises(ValueError, match="CVE-1 needs a reason"):
        accepted_ids(path)
