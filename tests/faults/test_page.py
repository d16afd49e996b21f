"""The rows of the fault table and its page; no scenario runs."""

from tests.faults import page, run
from tests.faults.report import Report
from tests.faults.rows import Row


def row(**changed):
    return Row(**({
        "number": "2", "title": "a kill", "device": "fake", "brokers": 1, "short": True, "faults": {"kill": 1},
        "report": Report(events=3, outcomes=3), "lag_zero": 1.0, "note": "", "date": "2026-11-24 10:00",
    } | changed))  # fmt: skip


def test_a_comparison_names_dates_form_and_brokers_of_its_runs(tmp_path):
    row(date="2026-11-24 10:00").save(tmp_path, "comparison-2-stock")
    row(date="2026-11-24 10:05").save(tmp_path, "comparison-2-stock-no-wait")
    row(date="2026-11-25 11:00", brokers=3).save(tmp_path, "comparison-2-service")
    cells = page._comparison_row("2", "a kill", tmp_path)
    assert cells[-1] == "2026-11-24 10:00 to 2026-11-24 10:05, short, 1 broker; 2026-11-25 11:00, short, 3 brokers"
    assert "2026-11-24 10:00, 0 s, short" in row().cells()


def test_the_page_names_the_duration_of_the_short_form(tmp_path):
    assert page.short_form_sentence(tmp_path) == "It has not run here yet."
    (tmp_path / "short").mkdir()
    page.save_short_form(tmp_path / "short", [row(), row(machine="2 cores")], 570)
    assert (
        page.short_form_sentence(tmp_path)
        == "Its last run, 2026-11-24 10:00 UTC, took 9.5 minutes for 2 rows on 2 cores."
    )


async def test_only_a_loss_of_this_service_fails_the_comparison(monkeypatch, tmp_path):
    async def run_scenario(cluster, folder, scenario, *, short, stock=False):
        return row(number=scenario.number, report=Report(events=3, outcomes=2, lost=1 if stock is stock_loses else 0))

    monkeypatch.setattr(run, "run_scenario", run_scenario)
    stock_loses = True
    assert all(one.passed for one in await run.run_comparison(None, tmp_path, tmp_path))
    stock_loses = False
    rows = await run.run_comparison(None, tmp_path, tmp_path)
    assert [one.number for one in rows if not one.passed] == ["2c", "3c", "6c", "7c", "12c"]
