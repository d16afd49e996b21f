"""Rows of the fault table: what a play left behind, kept on disk until the page is made of it (tests/faults/page.py).

So a table may be put together from rows that were played one at a time; each says when, where and with how many brokers.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tests.faults.invariants import Report

KEPT = (
    "number", "title", "device", "brokers", "short", "faults", "lag_zero", "note", "seconds", "compared", "date",
    "machine",
)  # fmt: skip


def machine() -> str:
    """Return processor, cores and memory in one line."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Python {platform.python_version()}"


@dataclass
class Row:
    """One line of the table. lag_zero: seconds from the last fault, or the end of its outage, to lag 0; None: it never came.

    device: what stood in for the device. compared: pictures held against an undisturbed run, None without one.
    date: of the play's end, in UTC. events: what was sent, by event id; not kept on disk.
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
    machine: str = field(default_factory=machine)
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
        played = f"{self.date}, {self.seconds:.0f} s{', short' if self.short else ''}"
        return [
            self.number, self.title, self.device, str(self.brokers), faults, *map(str, counts), compared, lag, verdict,
            played, self.note,
        ]  # fmt: skip

    def keep(self, folder: Path, name: str) -> None:
        """Write the row to `folder`, over what an earlier play left."""
        report = asdict(self.report)
        del report["pictures"]
        kept = {name: getattr(self, name) for name in KEPT} | {"report": report}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(kept, indent=1))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return a row that was kept."""
        kept = json.loads(path.read_text())
        return cls(report=Report(**kept["report"]), **{name: kept[name] for name in KEPT})


HEAD = [
    "no.", "scenario", "device", "brokers", "faults injected", "events in", "outcomes", "lost", "duplicate sets",
    "identical repeats", "pictures compared", "s to lag 0", "invariants", "played (UTC)", "note",
]  # fmt: skip
