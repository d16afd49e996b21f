"""What the invariant checker found after a scenario."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """The counts of one row of the fault table, and what is wrong.

    lost: inputs without an outcome. repeats: identical further copies of an outcome. differing: inputs whose copies
    differ. orphans: sets of objects without a manifest or an outcome. pictures: sha256 by key.
    """

    events: int = 0
    outcomes: int = 0
    lost: int = 0
    repeats: int = 0
    differing: int = 0
    orphans: int = 0
    pictures: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.lost or self.differing or self.orphans or self.violations)
