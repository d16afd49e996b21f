"""Write docs/throughput.md from a run of benchmarks/throughput.py, and check its figures against the limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.page import table
from tests.faults.rows import describe_machine

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "throughput.md"
TITLES = {
    "bare": "bare aiokafka",
    "stock": "a stock Faust agent",
    "memory": "this service, store in memory",
    "minio": "this service, MinIO",
}


@dataclass(frozen=True)
class Figures:
    """The results of one run.

    rates: events/s by kind. delays: median ms from event to answer by kind. store: median ms of a request's calls to
    MinIO. linger: the device's default, in seconds; lingering: the delay with it, in ms. sizes: the worker's MiB after
    each fifth of the soak. settings: name, value used, default.
    """

    events: int
    rounds: int
    soak: int
    rates: dict[str, float]
    delays: dict[str, float]
    store: float
    linger: float
    lingering: float
    sizes: list[float]
    soak_rate: float
    settings: list[tuple[str, str, str]]

    def added_delay(self, kind: str) -> float:
        """Return the median milliseconds that a kind takes longer than bare aiokafka."""
        return self.delays[kind] - self.delays["bare"]

    @property
    def growth(self) -> float:
        """The change of memory since the first fifth of the soak (the warm-up), in percent."""
        return 100 * (self.sizes[-1] / self.sizes[0] - 1) if self.sizes else 0.0


def limits(figures: Figures) -> list[tuple[str, str, bool]]:
    """Return each limit, the measured figure and whether the run holds the limit."""
    rates, apart = figures.rates, figures.added_delay("minio") - figures.store
    return [
        (
            "at least 1,000 events/s per worker, store in memory",
            f"{rates['memory']:,.0f} events/s",
            rates["memory"] >= 1000,
        ),
        ("at least 150 events/s per worker with MinIO", f"{rates['minio']:,.0f} events/s", rates["minio"] >= 150),
        (
            "at most 2 ms more than bare aiokafka at the median, store in memory",
            f"{figures.added_delay('memory'):+.1f} ms",
            figures.added_delay("memory") <= 2,
        ),
        (
            "at most 2 ms more than bare aiokafka at the median with MinIO, apart from the store's own time",
            f"{figures.added_delay('minio'):+.1f} ms, of them {figures.store:.1f} the store's own: {apart:+.1f} ms",
            apart <= 2,
        ),
        (
            "memory within 5 % over 50,000 events, since the first fifth",
            f"{figures.growth:+.1f} % over {figures.soak:,}",
            figures.soak >= 50_000 and abs(figures.growth) <= 5,
        ),
    ]


def write(figures: Figures, page: Path) -> list[str]:
    """Write the page; return the limits that the run does not hold."""
    held = limits(figures)
    verdicts = [[limit, measured, "held" if ok else "**not held**"] for limit, measured, ok in held]
    text = (ROOT / "benchmarks" / "throughput.md").read_text()
    page.write_text(
        text.format(
            date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            machine=describe_machine(),
            rounds=figures.rounds,
            events=f"{figures.events:,}",
            limits=table(["limit", "measured", ""], verdicts),
            kinds=table(
                [
                    "", "events/s", "of bare aiokafka", "of a stock agent", "median ms from event to answer",
                    "ms more than bare",
                ],
                [_line(figures, kind) for kind in TITLES],
            ),
            store=f"{figures.store:.1f}",
            linger=f"{1000 * figures.linger:g}",
            lingering=f"{figures.lingering - figures.delays['memory']:+.1f}",
            soak=f"{figures.soak:,}",
            soak_rate=f"{figures.soak_rate:,.0f}",
            sizes=", ".join(f"{size:.0f}" for size in figures.sizes) or "not measured",
            settings=table(["setting", "here", "default"], [list(line) for line in figures.settings]),
        )
    )  # fmt: skip
    return [limit for limit, _, ok in held if not ok]


def _line(figures: Figures, kind: str) -> list[str]:
    rate = figures.rates[kind]
    ratios = [f"{rate / figures.rates[other]:.2f}" for other in ("bare", "stock")]
    return [TITLES[kind], f"{rate:,.0f}", *ratios, f"{figures.delays[kind]:.1f}", f"{figures.added_delay(kind):+.1f}"]
