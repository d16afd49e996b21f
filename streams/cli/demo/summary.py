"""Print the results of the demo: a table of products, a table of segments, and the path of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from streams.cli.demo.results import ProductResult, Result, SegmentResult, product_results, segment_results
from streams.cli.pictures import ranking_score
from streams.cli.terminal import console


def print_summary(results: Sequence[Result], folder: Path, seconds: float) -> None:
    """Print the results. seconds: duration of the demo."""
    if not console.is_terminal:
        console.width = 240  # the link of a picture in one piece
    segments, products = segment_results(results), product_results(results)
    if products:
        console.print(_product_table(products))
    console.print(_segment_table(segments))
    pictures = sum(len(result.pictures) for result in segments)
    page = folder / "index.html"
    console.print(f"{pictures} pictures of {len(segments)} segments in {seconds:.0f} s. Open {page} in a browser.")


def _product_table(results: Sequence[ProductResult]) -> Table:
    """Return a table of the trained products, with the likeness to the photos before and after the training."""
    table = Table(header_style="bold", border_style="dim", show_lines=True)
    for name in ("product", "method", "steps", "seconds", "fidelity before", "after", "samples"):
        table.add_column(name, overflow="fold")
    for result in results:
        ready = result.ready
        scores = [f"{ready.scores.get(name, float('nan')):.3f}" for name in ("fidelity_before", "fidelity")]
        seconds = f"{ready.cost.device_seconds:.0f}"
        sample = next((picture.image.url for picture in result.pictures), "")
        table.add_row(result.product.name, ready.method, str(ready.steps), seconds, *scores, sample)
    return table


def _segment_table(results: Sequence[SegmentResult]) -> Table:
    table = Table(header_style="bold", border_style="dim", show_lines=True)
    for name, max_width in (("segment", 20), ("prompt", 44), ("rank", 4), ("score", 12), ("URL", None)):
        table.add_column(name, overflow="fold", max_width=max_width)
    for result in results:
        for number, picture in enumerate(result.pictures):
            name, prompt = (result.segment.name, result.ready.prompt) if number == 0 else ("", "")
            image = picture.image
            table.add_row(name, prompt, str(image.rank), ranking_score(image.scores), image.url)
    return table
