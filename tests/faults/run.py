"""`make faults`: play the fault scenarios against a real Kafka and a real MinIO, print the table, write docs/faults.md.

    python -m tests.faults                        everything, the contrast with a stock Faust agent included
    python -m tests.faults     --short            fewer kills, shorter outages, no rows of many minutes; no page is written
    python -m tests.faults     --only 1a,9b       some rows; --skip 16: all but some
    python -m tests.faults     --contrast         the contrast alone
    python -m tests.faults     --page             play nothing, write the page from the results that are kept

It starts brokers and a store of its own on free ports (see scripts/services) and removes them at the end.
Every row's result is kept in build/faults. Exit code 1 when a row of ours failed, in the contrast too.
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
from tests.faults.ground import Ground
from tests.faults.invariants import Auditor
from tests.faults.rows import Row, machine
from tests.faults.scenarios import ALL, CONTRAST, FAKE, Scenario

UNREPEATABLE = {"fatally", "hanging", "raising", "shapeless", "unsendable"}


async def play(cluster: Cluster, folder: Path, scenario: Scenario, *, short: bool, module: str = "worker") -> Row:
    """Play one scenario on its own ground and look at what is left."""
    name = scenario.name if module == "worker" else f"{module}-{scenario.name}"
    ground = Ground(cluster, name, folder, scenario.overrides, (f"tests.faults.{module}",))
    start = time.monotonic()
    lag_zero: float | None = None
    async with ground, Auditor(ground) as auditor:
        try:
            note = await scenario.play(ground, auditor, short)
            lag_zero = await auditor.settled(scenario.timeout if module == "worker" else 45)
        except TimeoutError as error:
            note = f"timed out: {error}"
        if scenario.stands:
            auditor.demand_that_workers_stood()
        report = await auditor.report()
    return Row(
        number=scenario.number,
        title=scenario.title,
        device=scenario.device,
        brokers=len(cluster.kafka),
        short=short,
        report=report,
        faults=ground.faults,
        lag_zero=lag_zero,
        note=note,
        seconds=time.monotonic() - start,
        events={sent.event_id: sent.value for sent in ground.sent if sent.event_id and sent.value},
    )


async def undisturbed(cluster: Cluster, folder: Path, rows: list[Row]) -> Row:
    """Run every event once more without faults, elsewhere: the pictures of all rows must be these, byte for byte."""
    events = {name: value for row in rows for name, value in row.events.items() if _plain(value)}
    ground = Ground(cluster, "undisturbed", folder)
    start = time.monotonic()
    async with ground, Auditor(ground) as auditor:
        await ground.worker(FAKE_SLOW="0", FAKE_DELAY="0")
        await ground.produce(*((json.loads(value)["segment_id"].encode(), value) for value in events.values()))
        await auditor.until(len(events), 600)
        lag_zero = await auditor.settled()
        report = await auditor.report()
    for row in rows:
        both = row.report.pictures.keys() & report.pictures.keys()
        row.compared = len(both)
        row.report.violations += [
            f"{key} differs from the undisturbed run"
            for key in sorted(both)
            if row.report.pictures[key] != report.pictures[key]
        ]
    return Row(
        number="-",
        title="the same events undisturbed",
        device=FAKE,
        brokers=len(cluster.kafka),
        short=False,
        report=report,
        faults={},
        lag_zero=lag_zero,
        note=f"{sum(row.compared or 0 for row in rows)} pictures of the other rows compared",
        seconds=time.monotonic() - start,
    )


def _plain(value: bytes) -> bool:
    event = json.loads(value)
    if "segment_id" not in event:  # a product: its scenario compares by itself
        return False
    words = set(str(event.get("name")).split())
    return not words & UNREPEATABLE and "-bad" not in str(event.get("event_id"))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def run_rows(cluster: Cluster, folder: Path, scenarios: list[Scenario], given: argparse.Namespace) -> list[Row]:
    """Play the rows one after the other and keep each; the last one returned is the undisturbed run."""
    rows = []
    for scenario in scenarios:
        row = await play(cluster, folder, scenario, short=given.short)
        rows.append(row)
        row.keep(given.results, row.number)
        tell(row)
    if any(_plain(value) for row in rows for value in row.events.values()):
        alike = await undisturbed(cluster, folder, rows)
        tell(alike)
        for row in rows:
            row.keep(given.results, row.number)
        rows.append(alike)
    return rows


def tell(row: Row) -> None:
    say("  ".join(row.cells()))
    for violation in row.report.violations[:5]:
        say(f"         {violation}")


async def run_contrast(cluster: Cluster, folder: Path, results: Path) -> list[Row]:
    """Play the contrast, in the short form, and keep it; return our rows."""
    rows = []
    for scenario in CONTRAST:
        eager = replace(scenario, number=f"{scenario.number}e", overrides={"STOCK_WAIT_EMPTY": "0"})
        ours = replace(scenario, number=f"{scenario.number}c")
        for contender, one in zip(page.CONTENDERS, (scenario, eager, ours), strict=True):
            module = "worker" if contender == "ours" else "stock"
            row = await play(cluster, folder, one, short=True, module=module)
            row.keep(results, f"contrast-{scenario.number}-{contender}")
            say(f"{scenario.number}  {scenario.title}  {contender}: {page.contrast(row)}")
            if contender == "ours":
                tell(row)
                rows.append(row)
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", help="numbers, separated by commas")
    parser.add_argument("--skip", default="", help="numbers that are left out")
    parser.add_argument("--contrast", action="store_true", help="the stock agent's five scenarios alone")
    parser.add_argument("--page", action="store_true", help="write docs/faults.md from what is kept, play nothing")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs though all rows held")
    parser.add_argument("--results", type=Path, help="default: build/faults, of the short form build/faults/short")
    given = parser.parse_args()
    given.results = given.results or ROOT / "build" / "faults" / ("short" if given.short else "")
    only, skip = (set(join_texts.split(",")) - {""} for join_texts in (given.only, given.skip))
    known = {scenario.number for scenario in ALL}
    if strange := (only | skip) - known:
        parser.error(f"no scenario {', '.join(sorted(strange))}; there are {', '.join(sorted(known))}")
    wanted = [one for one in ALL if (one.number in only if only else one.short or not given.short)]
    given.chosen = [one for one in wanted if one.number not in skip]
    given.everything = not (given.short or only or skip or given.contrast)
    return given


async def main() -> int:
    given = arguments()
    if given.page:
        return show(given.results)
    logging.disable(logging.CRITICAL)  # clients complain about every broker that is away on purpose
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    say(f"{machine()}; logs in {folder}")
    cluster = Cluster.plan(folder / "services", given.brokers)
    rows: list[Row] = []
    start = time.monotonic()
    try:
        await asyncio.to_thread(cluster.up)
        if not given.contrast:
            rows = await run_rows(cluster, folder, given.chosen, given)
        if given.contrast or given.everything:
            rows += await run_contrast(cluster, folder, given.results)
    finally:
        await asyncio.to_thread(cluster.down)
    broken = [row.number for row in rows if not row.passed]
    seconds = time.monotonic() - start
    if given.short and not given.only and rows:
        page.keep_short_form(given.results, rows, seconds)
    took = f"in {seconds / 60:.1f} minutes"
    say(f"{len(rows) - len(broken)} of {len(rows)} rows held {took}; broken: {', '.join(broken) or 'none'}")
    if not (broken or given.keep):
        shutil.rmtree(folder)
    if given.everything:
        show(given.results)
    return 1 if broken else 0


def show(results: Path) -> int:
    """Write the page; return 1 where a row was never played."""
    missing = page.write(results)
    say(f"wrote {page.PAGE.relative_to(ROOT)}" + (f"; never played: {', '.join(missing)}" if missing else ""))
    return 1 if missing else 0
