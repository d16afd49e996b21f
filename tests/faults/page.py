"""docs/faults.md, made of the rows that were kept on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tests.faults.cluster import ROOT
from tests.faults.rows import HEAD, Row
from tests.faults.scenarios import ALL, CONTRAST

PAGE = ROOT / "docs" / "faults.md"
CONTENDERS = ("stock", "eager", "ours")


def write(results: Path) -> list[str]:
    """Write the page around its own explanation; return the numbers of the rows that no play left a result of."""
    numbers = [scenario.number for scenario in ALL]
    played = {number: results / f"{number}.json" for number in numbers if (results / f"{number}.json").exists()}
    versus = [_versus(scenario.number, scenario.title, results) for scenario in CONTRAST]
    rows = {number: Row.read(path) for number, path in played.items()}
    text = (ROOT / "tests" / "faults" / "page.md").read_text()
    PAGE.write_text(
        text.format(
            date=_span(rows.values()),
            machine="; ".join(dict.fromkeys(row.machine for row in rows.values())),
            held=f"{sum(row.passed for row in rows.values())} of {len(numbers)}",
            short=short_form(results),
            table=table(HEAD, [rows[number].cells() for number in rows]),
            contrast=table(
                ["no.", "scenario", "stock Faust", "stock, `stream_wait_empty=False`", "this service", "played (UTC)"],
                versus,
            ),
        )
    )
    return [number for number in numbers if number not in rows]


def keep_short_form(results: Path, rows: list[Row], seconds: float) -> None:
    """Remember how long a short form of these rows took."""
    told = {"date": rows[-1].date, "machine": rows[-1].machine, "rows": len(rows), "minutes": seconds / 60}
    (results / "took.json").write_text(json.dumps(told))


def short_form(results: Path) -> str:
    """Return how long the last short form took that was played."""
    path = results / "short" / "took.json"
    if not path.exists():
        return "It was not played here yet."
    took = json.loads(path.read_text())
    return f"Its last play, {took['date']} UTC, took {took['minutes']:.1f} minutes for {took['rows']} rows on {took['machine']}."


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _versus(number: str, title: str, results: Path) -> list[str]:
    paths = [results / f"contrast-{number}-{contender}.json" for contender in CONTENDERS]
    rows = [Row.read(path) if path.exists() else None for path in paths]
    return [number, title, *(contrast(row) if row else "not played" for row in rows), _played(filter(None, rows))]


def _span(rows: Iterable[Row]) -> str:
    dates = sorted(row.date for row in rows)
    return " to ".join(dict.fromkeys((dates[0], dates[-1])))


def _played(rows: Iterable[Row]) -> str:
    """Return when rows were played, in which form and on how many brokers."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        brokers = f"{row.brokers} broker{'s' if row.brokers > 1 else ''}"
        kinds.setdefault(f"{'short' if row.short else 'whole'}, {brokers}", []).append(row)
    return "; ".join(f"{_span(alike)}, {kind}" for kind, alike in kinds.items())


def contrast(row: Row) -> str:
    """Return a cell of the contrast table. What was committed without an outcome is lost; the rest was not served yet."""
    early = sum("committed without" in violation for violation in row.report.violations)
    missing = f"**{early} lost**" + (f", **{row.report.lost - early} not served**" if row.report.lost > early else "")
    lag = "lag never 0" if row.lag_zero is None else f"lag 0 after {row.lag_zero:.0f} s"
    repeats = row.report.repeats + row.report.differing
    return f"{row.report.events} in, {missing}, {repeats} repeats, {lag}"
