"""The throughput page and its limits."""

from dataclasses import replace

import pytest

from benchmarks.figures import Figures, limits, write

GOOD = Figures(
    events=10_000, rounds=3, soak=50_000, rates={"bare": 5000.0, "stock": 900.0, "memory": 1100.0, "minio": 160.0},
    delays={"bare": 4.0, "stock": 6.0, "memory": 5.5, "minio": 15.0}, store=9.5, linger=0.02, lingering=26.0,
    sizes=[100.0, 101.0, 102.0, 103.0, 104.0], soak_rate=800.0, settings=[("`CREATIVES_DEVICE__LINGER`", "0", "0.02")],
)  # fmt: skip


def test_the_page_of_a_run_that_holds_all_limits(tmp_path):
    assert write(GOOD, tmp_path / "page.md") == []
    page = (tmp_path / "page.md").read_text()
    assert "+11.0 ms, of them 9.5 the store's own: +1.5 ms | held" in page
    assert "| this service, store in memory | 1,100 | 0.22 | 1.22 | 5.5 | +1.5 |" in page
    assert "its default of 20 ms added +20.5 ms" in page
    assert "not held" not in page


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rates": {**GOOD.rates, "memory": 999.0}}, "1,000 events/s"),
        ({"rates": {**GOOD.rates, "minio": 149.0}}, "150 events/s"),
        ({"delays": {**GOOD.delays, "memory": 6.1}}, "2 ms more than bare aiokafka at the median, store in memory"),
        ({"store": 8.9}, "apart from the store's own time"),
        ({"sizes": [100.0, 106.0]}, "memory within 5 %"),
        ({"soak": 5000}, "memory within 5 %"),
    ],
)
def test_a_limit_that_is_not_held_is_returned_and_marked_on_the_page(tmp_path, changed, words):
    [broken] = write(replace(GOOD, **changed), tmp_path / "page.md")
    assert words in broken
    assert [ok for limit, _, ok in limits(replace(GOOD, **changed)) if limit == broken] == [False]
    assert "**not held**" in (tmp_path / "page.md").read_text()
