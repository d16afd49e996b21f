#!/usr/bin/env python3
"""Check the layout of schemas/, models/ and streams/: `scripts/checks/structure.py`.

- A module has at most 260 lines, and the median module at most 110.
- No modules import each other in a cycle, not even inside functions. Imports under TYPE_CHECKING do not count.
- Every package has a docstring.
- Every test module has the path of the module or package that it tests, unless CROSS_CUTTING lists it.

Prints what is wrong and then exits with code 1.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "models", "streams")
MAX_LINES, MAX_MEDIAN = 260, 110
CROSS_CUTTING = {
    "tests/models/learning/test_learners.py": "all training methods, on the same cases",
    "tests/models/rendering/test_parity.py": "whole pictures, against the stock pipelines of diffusers",
    "tests/models/weights/test_damaged_weights.py": "every loader, on damaged files",
    "tests/models/weights/test_official.py": "every loader, on weights in the published layouts",
    "tests/schemas/test_descriptions.py": "the descriptions of all events",
    "tests/streams/device/test_client_crashes.py": "streams/device/client.py, when the device process crashes or hangs",
    "tests/streams/device/test_client_memory.py": "streams/device/client.py, when the device runs out of memory",
    "tests/streams/device/test_client_lifecycle.py": "streams/device/client.py, from start to stop",
    "tests/streams/kafka/test_decoding_properties.py": "streams/kafka/decoding.py, with hypothesis",
    "tests/streams/kafka/test_hostile_records.py": "the parsing of records, on batches that an attacker built",
    "tests/streams/kafka/test_ledger_properties.py": "streams/kafka/ledger.py, with hypothesis",
    "tests/streams/kafka/test_unreadable_records.py": "unreadable records, from the consumer to the dead letter",
    "tests/streams/products/test_planted_checkpoints.py": "foreign objects among the checkpoints of a training job",
    "tests/streams/products/test_planted_objects.py": "both handlers, in a bucket into which an attacker writes",
    "tests/streams/products/test_product_segments.py": "both handlers: segments that show a product",
    "tests/streams/segments/test_personas.py": "prompts of 30 segments as marketers write them",
}
"""Test modules that mirror no single module, each with its subject."""

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Return the path of each module and package by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def sizes(root: Path) -> Iterator[str]:
    """Yield a message for each module that is too long, and for the median if it is."""
    lines = {
        path.relative_to(root): len(path.read_text("utf-8").splitlines())
        for path in modules(root).values()
        if path.name != "__init__.py"
    }
    yield from (f"{path}: {count} lines, at most {MAX_LINES}" for path, count in lines.items() if count > MAX_LINES)
    median = statistics.median(lines.values()) if lines else 0
    if median > MAX_MEDIAN:
        yield f"the median module has {median:g} lines, at most {MAX_MEDIAN}"


def import_graph(root: Path) -> Graph:
    """Return for each module the modules of this repository that it imports."""
    known = modules(root)
    graph = {}
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imported = set(_imports(ast.parse(path.read_text("utf-8")), package))
        graph[name] = {found for target in imported if (found := _resolve(target, known)) and found != name}
    return graph


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the dotted names that a syntax tree imports, except those under `if TYPE_CHECKING:`."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        for statement in node.orelse:
            yield from _imports(statement, package)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.rsplit(".", node.level - 1)[0] if node.level else ""
        base = ".".join(filter(None, (above, node.module)))
        yield from (f"{base}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package)


def _resolve(target: str, known: dict[str, Path]) -> str | None:
    """Return the module that a dotted name imports: `package.module.name` imports `package.module`."""
    if target in known:
        return target
    parent = target.rpartition(".")[0]
    return parent if parent in known else None


def cycles(graph: Graph) -> Iterator[str]:
    """Yield a message for each import cycle; removing one import per cycle breaks them all."""
    graph = {name: set(imported) for name, imported in graph.items()}
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            chain: list[str] = error.args[1][::-1]  # graphlib names the imported module first
            yield f"import cycle: {' -> '.join(chain)}"
            graph[chain[0]].remove(chain[1])
        else:
            return


def docstrings(root: Path) -> Iterator[str]:
    """Yield a message for each folder of modules without `__init__.py`, and each package without a docstring."""
    folders = sorted({path.parent for path in modules(root).values()})
    for folder in folders:
        init = folder / "__init__.py"
        if not init.exists():
            yield f"{folder.relative_to(root)}: __init__.py is missing"
        elif not ast.get_docstring(ast.parse(init.read_text("utf-8"))):
            yield f"{init.relative_to(root)}: the package has no docstring"


def mirror(root: Path) -> Iterator[str]:
    """Yield a message for each test module whose path matches no module or package."""
    known = modules(root)
    for package in PACKAGES:
        for path in sorted((root / "tests" / package).rglob("test_*.py")):
            relative = path.relative_to(root)
            subject = relative.relative_to("tests").with_name(path.stem.removeprefix("test_"))
            if ".".join(subject.parts) not in known and relative.as_posix() not in CROSS_CUTTING:
                yield f"{relative}: there is no {subject}.py; move the test, or list it in CROSS_CUTTING of this script"


def stale_exceptions(root: Path) -> Iterator[str]:
    """Yield a message for each entry of CROSS_CUTTING that does not exist."""
    yield from (
        f"{path} does not exist: remove it from CROSS_CUTTING" for path in CROSS_CUTTING if not (root / path).exists()
    )


def check(root: Path) -> list[str]:
    """Return everything that is wrong."""
    return [*sizes(root), *cycles(import_graph(root)), *docstrings(root), *mirror(root), *stale_exceptions(root)]


def main() -> int:
    """Print what is wrong; return the exit code."""
    found = check(ROOT)
    for message in found:
        print(message)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
