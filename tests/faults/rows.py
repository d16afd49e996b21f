"""Rows of the fault table, saved on disk until tests/faults/page.py writes the page.

A table can therefore combine rows of different runs. Each row states its date, its machine and its number of brokers.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tests.faults.report import Report

SAVED_FIELDS = (
    "number", "title", "device", "brokers", "short", "faults", "lag_zero", "note", "seconds", "compared", "date",
    "machine",
)  # fmt: skip


def describe_machine() -> str:
    """Return cores, processor, memory and Python version in one line."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Python {platform.python_version()}"


@dataclass
class Row:
    """One line of the table.

    device: what did the work of the device. lag_zero: seconds from the last fault, or the end of its outage, to lag 0;
    None if the lag never became 0. compared: the number of pictures compared with a run without faults; None without
    such a run. date: the end of the run, in UTC. events: the sent values by event_id; not saved.
    """

    number: str
    title: str
    device: str
    brokers: int
    short: bool
    report: Report
    faults: dict[str, int]
    lag_zero: float | None
    note: str
    seconds: float = 0.0
    compared: int | None = None
    date: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    machine: str = field(default_factory=describe_machine)
    events: dict[str, bytes] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.report.passed and self.lag_zero is not None

    def cells(self) -> list[str]:
        report = self.report
        faults = ", ".join(f"{count} {kind}" for kind, count in self.faults.items())
        lag = "never" if self.lag_zero is None else f"{self.lag_zero:.0f}"
        counts = [report.events, report.outcomes, report.lost, report.differing + report.orphans, report.repeats]
        compared = "-" if self.compared is None else str(self.compared)
        verdict = "held" if self.passed else "BROKEN"
        run = f"{self.date}, {self.seconds:.0f} s{', short' if self.short else ''}"
        return [
            self.number, self.title, self.device, str(self.brokers), faults, *map(str, counts), compared, lag, verdict,
            run, self.note,
        ]  # fmt: skip

    def save(self, folder: Path, name: str) -> None:
        """Write the row to `folder`; replace the row of an earlier run."""
        report = asdict(self.report)
        del report["pictures"]
        saved = {name: getattr(self, name) for name in SAVED_FIELDS} | {"report": report}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(saved, indent=1))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return a saved row."""
        saved = json.loads(path.read_text())
        return cls(report=Report(**saved["report"]), **{name: saved[name] for name in SAVED_FIELDS})


COLUMNS = [
    "no.", "scenario", "device", "brokers", "faults injected", "events in", "outcomes", "lost", "duplicate sets",
    "identical repeats", "pictures compared", "s to lag 0", "invariants", "run (UTC)", "note",
]  # fmt: skip
