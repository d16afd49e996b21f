"""Writes docs/faults.md from the saved rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tests.faults.cluster import ROOT
from tests.faults.rows import COLUMNS, Row
from tests.faults.scenarios import ALL, COMPARISON

PAGE = ROOT / "docs" / "faults.md"
CONTENDERS = ("stock", "stock-no-wait", "service")


def write(results: Path) -> list[str]:
    """Write the page from page.md and the saved rows; return the numbers of the rows that are missing."""
    numbers = [scenario.number for scenario in ALL]
    paths = {number: results / f"{number}.json" for number in numbers}
    rows = {number: Row.load(path) for number, path in paths.items() if path.exists()}
    comparison = [_comparison_row(scenario.number, scenario.title, results) for scenario in COMPARISON]
    text = (ROOT / "tests" / "faults" / "page.md").read_text()
    PAGE.write_text(
        text.format(
            date=_dates(rows.values()),
            machine="; ".join(dict.fromkeys(row.machine for row in rows.values())),
            held=f"{sum(row.passed for row in rows.values())} of {len(numbers)}",
            short=short_form_sentence(results),
            table=table(COLUMNS, [rows[number].cells() for number in rows]),
            comparison=table(
                ["no.", "scenario", "stock Faust", "stock, `stream_wait_empty=False`", "this service", "run (UTC)"],
                comparison,
            ),
        )
    )
    return [number for number in numbers if number not in rows]


def save_short_form(results: Path, rows: list[Row], seconds: float) -> None:
    """Save how long a run of the short form took."""
    summary = {"date": rows[-1].date, "machine": rows[-1].machine, "rows": len(rows), "minutes": seconds / 60}
    (results / "took.json").write_text(json.dumps(summary))


def short_form_sentence(results: Path) -> str:
    """Return a sentence about the last run of the short form."""
    path = results / "short" / "took.json"
    if not path.exists():
        return "It has not run here yet."
    took = json.loads(path.read_text())
    return f"Its last run, {took['date']} UTC, took {took['minutes']:.1f} minutes for {took['rows']} rows on {took['machine']}."


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _comparison_row(number: str, title: str, results: Path) -> list[str]:
    paths = [results / f"comparison-{number}-{contender}.json" for contender in CONTENDERS]
    rows = [Row.load(path) if path.exists() else None for path in paths]
    return [
        number,
        title,
        *(comparison_cell(row) if row else "not run" for row in rows),
        _run_dates(filter(None, rows)),
    ]


def _dates(rows: Iterable[Row]) -> str:
    dates = sorted(row.date for row in rows)
    return " to ".join(dict.fromkeys((dates[0], dates[-1])))


def _run_dates(rows: Iterable[Row]) -> str:
    """Return the dates of rows, grouped by form and number of brokers."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        brokers = f"{row.brokers} broker{'s' if row.brokers > 1 else ''}"
        kinds.setdefault(f"{'short' if row.short else 'whole'}, {brokers}", []).append(row)
    return "; ".join(f"{_dates(group)}, {kind}" for kind, group in kinds.items())


def comparison_cell(row: Row) -> str:
    """Return a cell of the comparison. Inputs committed without an outcome are lost; others were not served in time."""
    early = sum("committed without" in violation for violation in row.report.violations)
    missing = f"**{early} lost**" + (f", **{row.report.lost - early} not served**" if row.report.lost > early else "")
    lag = "lag never 0" if row.lag_zero is None else f"lag 0 after {row.lag_zero:.0f} s"
    repeats = row.report.repeats + row.report.differing
    return f"{row.report.events} in, {missing}, {repeats} repeats, {lag}"
