"""Print the results of the demo: a table of products, a table of segments, and the path of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from streams.cli.demo.results import ProductResult, Result, SegmentResult, product_results, segment_results
from streams.cli.pictures import ranking_score
from streams.cli.terminal import console, counted
from streams.printable import printable


def print_summary(results: Sequence[Result], folder: Path, seconds: float) -> None:
    """Print the results. seconds: duration of the demo."""
    if not console.is_terminal:
        console.width = 500  # wide enough that no path is cut
    segments, products = segment_results(results), product_results(results)
    if products:
        console.print(_product_table(products, folder))
    console.print(_segment_table(segments, folder))
    pictures = counted(sum(len(result.pictures) for result in segments), "picture")
    page = folder / "index.html"
    made = f"{pictures} of {counted(len(segments), 'segment')}"
    console.print(Text(f"{made} in {seconds:.0f} s. Open {page} in a browser."), soft_wrap=True)


def _product_table(results: Sequence[ProductResult], folder: Path) -> Table:
    """Return a table of the trained products, with the likeness to the photos before and after the training."""
    table = Table(header_style="bold", border_style="dim", show_lines=True)
    for name in ("product", "method", "steps", "seconds", "fidelity before", "after", "sample"):
        table.add_column(name, overflow="fold")
    for result in results:
        ready = result.ready
        scores = [f"{ready.scores.get(name, float('nan')):.3f}" for name in ("fidelity_before", "fidelity")]
        seconds = f"{ready.cost.device_seconds:.0f}"
        sample = next((str(folder / result.picture_path(picture)) for picture in result.pictures), "")
        table.add_row(_cell(result.product.name), ready.method, str(ready.steps), seconds, *scores, _cell(sample))
    return table


def _segment_table(results: Sequence[SegmentResult], folder: Path) -> Table:
    """Return a table of the pictures as files in the folder: the links of the store die with the demo."""
    table = Table(header_style="bold", border_style="dim", show_lines=True)
    for name, max_width in (("segment", 20), ("prompt", 44), ("rank", 4), ("score", 12), ("picture", None)):
        table.add_column(name, overflow="fold", max_width=max_width, no_wrap=name == "picture")
    for result in results:
        for number, picture in enumerate(result.pictures):
            name, prompt = (result.segment.name, result.ready.prompt) if number == 0 else ("", "")
            image = picture.image
            path = _cell(str(folder / result.picture_path(picture)))
            table.add_row(_cell(name), _cell(prompt), str(image.rank), ranking_score(image.scores), path)
    return table


def _cell(text: str) -> Text:
    """Return the text as it is: without markup, and without characters that control a terminal."""
    return Text(printable(text))
