"""The demo's output folder: events.jsonl, pictures/, contact-sheet.png and index.html."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from streams.cli.contact_sheet import Frame, Strip, contact_sheet
from streams.cli.demo.comparisons import Comparison, compare_products, other_segments, training_facts
from streams.cli.demo.page import demo_page
from streams.cli.demo.results import FetchedPicture, Result, SegmentResult
from streams.cli.pictures import rank_label, ranking_score
from streams.cli.terminal import counted, require_writable


def clear(folder: Path) -> None:
    """Make the folder and remove the files of an earlier demo. Other files stay. Raises InputError."""
    require_writable(folder)
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    for name in ("events.jsonl", "contact-sheet.png", "index.html", "worker.log"):
        (folder / name).unlink(missing_ok=True)


def write(results: Sequence[Result], folder: Path) -> None:
    """Write events, pictures, contact sheet and page. Raises OSError."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for result in results:
        for picture in result.pictures:
            (folder / result.picture_path(picture)).write_bytes(picture.content)
    (folder / "events.jsonl").write_bytes(_events_jsonl(results))
    (folder / "contact-sheet.png").write_bytes(_sheet(results))
    (folder / "index.html").write_text(demo_page(results), "utf-8")


def _events_jsonl(results: Sequence[Result]) -> bytes:
    """Return the events exactly as published, one per line."""
    assert all(b"\n" not in result.value and json.loads(result.value) for result in results)
    return b"".join(result.value + b"\n" for result in results)


def _sheet(results: Sequence[Result]) -> bytes:
    comparisons = compare_products(results)
    strips = [*map(_segment_strip, other_segments(results, comparisons)), *map(_comparison_strip, comparisons)]
    models = " · ".join(dict.fromkeys(f"{model.role}: {model.id}" for model in results[0].ready.recipe.models))
    return contact_sheet("Fluence creatives", models, strips)


def _segment_strip(result: SegmentResult) -> Strip:
    shapes = result.ready.formats
    frames = tuple(
        _frame(picture, rank_label(picture.image.rank, picture.image.format, shapes)) for picture in result.pictures
    )
    cost = result.ready.cost
    fact = f"{counted(cost.candidates, 'candidate')}, {cost.device_seconds:.1f} s"
    return Strip(result.segment.name, result.ready.prompt, (fact,), frames)


def _comparison_strip(comparison: Comparison) -> Strip:
    """Return a strip with one column of pictures per method. Rows end with the shortest column."""
    rows = zip(*(column.segment_result.pictures for column in comparison.columns), strict=False)
    frames = tuple(
        _frame(picture, column.heading) for row in rows for column, picture in zip(comparison.columns, row, strict=True)
    )
    facts: list[str] = []
    for column in comparison.columns:
        if column.product_result is not None:
            facts += [column.heading, *training_facts(column.product_result)]
    return Strip(comparison.product.name, f"a {comparison.product.class_noun}", tuple(facts), frames)


def _frame(picture: FetchedPicture, label: str) -> Frame:
    return Frame(picture.content, label, ranking_score(picture.image.scores))
