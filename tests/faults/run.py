"""`make faults`: run the fault scenarios on a real Kafka and a real MinIO, print the table and write docs/faults.md.

    python -m tests.faults                  all rows and the comparison with a stock Faust agent
    python -m tests.faults --short          fewer kills, shorter outages, no rows of many minutes; writes no page
    python -m tests.faults --only 1a,9b     some rows; --skip 16: all rows but some
    python -m tests.faults --comparison     only the comparison
    python -m tests.faults --page           run nothing; write the page from the saved results

The command starts its own brokers and store on free ports (see scripts/services) and removes them at the end. It saves
the result of each row in build/faults, and exits with code 1 if a row of this service failed, also in the comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.faults import page
from tests.faults.cluster import ROOT, Cluster
from tests.faults.invariants import InvariantChecker
from tests.faults.rows import Row, describe_machine
from tests.faults.scenarios import ALL, COMPARISON, FAKE, Scenario
from tests.faults.testbed import Testbed

FAULT_WORDS = {"fatally", "hanging", "raising", "shapeless", "unsendable"}
"""Words of the fake studio whose events have no pictures to compare."""


async def run_scenario(cluster: Cluster, folder: Path, scenario: Scenario, *, short: bool, stock: bool = False) -> Row:
    """Run one scenario on its own testbed, with this service or with the stock agent; return its row."""
    name = f"stock-{scenario.name}" if stock else scenario.name
    program = "tests.faults.stock_faust_agent" if stock else "tests.faults.worker"
    testbed = Testbed(cluster, name, folder, scenario.overrides, (program,))
    start = time.monotonic()
    lag_zero: float | None = None
    async with testbed, InvariantChecker(testbed) as checker:
        try:
            note = await scenario.run(testbed, checker, short)
            lag_zero = await checker.wait_for_zero_lag(45 if stock else scenario.timeout)
        except TimeoutError as error:
            note = f"timed out: {error}"
        if scenario.workers_must_survive:
            checker.expect_no_worker_exits()
        report = await checker.report()
    return Row(
        number=scenario.number,
        title=scenario.title,
        device=scenario.device,
        brokers=len(cluster.kafka),
        short=short,
        report=report,
        faults=testbed.faults,
        lag_zero=lag_zero,
        note=note,
        seconds=time.monotonic() - start,
        events={sent.event_id: sent.value for sent in testbed.sent if sent.event_id and sent.value},
    )


async def run_without_faults(cluster: Cluster, folder: Path, rows: list[Row]) -> Row:
    """Run the events of all rows again without faults; note every picture of a row that differs as a violation."""
    events = {name: value for row in rows for name, value in row.events.items() if _has_comparable_pictures(value)}
    testbed = Testbed(cluster, "undisturbed", folder)
    start = time.monotonic()
    async with testbed, InvariantChecker(testbed) as checker:
        await testbed.start_worker(FAKE_SLOW="0", FAKE_DELAY="0")
        await testbed.produce(*((json.loads(value)["segment_id"].encode(), value) for value in events.values()))
        await checker.wait_for_outcomes(len(events), 600)
        lag_zero = await checker.wait_for_zero_lag()
        report = await checker.report()
    for row in rows:
        both = row.report.pictures.keys() & report.pictures.keys()
        row.compared = len(both)
        row.report.violations += [
            f"{key} differs from the run without faults"
            for key in sorted(both)
            if row.report.pictures[key] != report.pictures[key]
        ]
    return Row(
        number="-",
        title="the same events without faults",
        device=FAKE,
        brokers=len(cluster.kafka),
        short=False,
        report=report,
        faults={},
        lag_zero=lag_zero,
        note=f"{sum(row.compared or 0 for row in rows)} pictures of the other rows compared",
        seconds=time.monotonic() - start,
    )


def _has_comparable_pictures(value: bytes) -> bool:
    event = json.loads(value)
    if "segment_id" not in event or "product_id" in event:  # scenarios of products check these themselves
        return False
    words = set(str(event.get("name")).split())
    return not words & FAULT_WORDS and "-bad" not in str(event.get("event_id"))


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def run_rows(cluster: Cluster, folder: Path, scenarios: list[Scenario], options: argparse.Namespace) -> list[Row]:
    """Run the scenarios one after the other and save their rows. The last row returned is the run without faults."""
    rows = []
    for scenario in scenarios:
        row = await run_scenario(cluster, folder, scenario, short=options.short)
        rows.append(row)
        row.save(options.results, row.number)
        print_row(row)
    if any(_has_comparable_pictures(value) for row in rows for value in row.events.values()):
        without_faults = await run_without_faults(cluster, folder, rows)
        print_row(without_faults)
        for row in rows:
            row.save(options.results, row.number)
        rows.append(without_faults)
    return rows


def print_row(row: Row) -> None:
    print_line("  ".join(row.cells()))
    for violation in row.report.violations[:5]:
        print_line(f"         {violation}")


async def run_comparison(cluster: Cluster, folder: Path, results: Path) -> list[Row]:
    """Run the comparison in the short form and save its rows; return the rows of this service."""
    rows = []
    for scenario in COMPARISON:
        no_wait = replace(scenario, number=f"{scenario.number}e", overrides={"STOCK_WAIT_EMPTY": "0"})
        service = replace(scenario, number=f"{scenario.number}c")
        for contender, one in zip(page.CONTENDERS, (scenario, no_wait, service), strict=True):
            row = await run_scenario(cluster, folder, one, short=True, stock=contender != "service")
            row.save(results, f"comparison-{scenario.number}-{contender}")
            print_line(f"{scenario.number}  {scenario.title}  {contender}: {page.comparison_cell(row)}")
            if contender == "service":
                print_row(row)
                rows.append(row)
    return rows


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", help="run these rows (numbers, separated by commas)")
    parser.add_argument("--skip", default="", help="run all rows but these")
    parser.add_argument("--comparison", action="store_true", help="run only the comparison with the stock agent")
    parser.add_argument("--page", action="store_true", help="run nothing; write docs/faults.md from the saved results")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs even if all rows held")
    parser.add_argument("--results", type=Path, help="default: build/faults; for the short form build/faults/short")
    options = parser.parse_args()
    options.results = options.results or ROOT / "build" / "faults" / ("short" if options.short else "")
    only, skip = (set(numbers.split(",")) - {""} for numbers in (options.only, options.skip))
    known = {scenario.number for scenario in ALL}
    if unknown := (only | skip) - known:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    wanted = [one for one in ALL if (one.number in only if only else one.short or not options.short)]
    options.chosen = [one for one in wanted if one.number not in skip]
    options.everything = not (options.short or only or skip or options.comparison)
    return options


async def main() -> int:
    options = parse_options()
    if options.page:
        return write_page(options.results)
    logging.disable(logging.CRITICAL)  # clients log an error for every broker that a scenario stops
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    print_line(f"{describe_machine()}; logs in {folder}")
    cluster = Cluster.plan(folder / "services", options.brokers)
    rows: list[Row] = []
    start = time.monotonic()
    try:
        await asyncio.to_thread(cluster.up)
        if not options.comparison:
            rows = await run_rows(cluster, folder, options.chosen, options)
        if options.comparison or options.everything:
            rows += await run_comparison(cluster, folder, options.results)
    finally:
        await asyncio.to_thread(cluster.down)
    broken = [row.number for row in rows if not row.passed]
    seconds = time.monotonic() - start
    if options.short and not options.only and rows:
        page.save_short_form(options.results, rows, seconds)
    took = f"in {seconds / 60:.1f} minutes"
    print_line(f"{len(rows) - len(broken)} of {len(rows)} rows held {took}; broken: {', '.join(broken) or 'none'}")
    if not (broken or options.keep):
        shutil.rmtree(folder)
    if options.everything:
        write_page(options.results)
    return 1 if broken else 0


def write_page(results: Path) -> int:
    """Write the page; return 1 if rows are missing."""
    missing = page.write(results)
    print_line(f"wrote {page.PAGE.relative_to(ROOT)}" + (f"; rows never run: {', '.join(missing)}" if missing else ""))
    return 1 if missing else 0
