"""Compare pictures of one product: before the training, and after it with each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.events import ProductRegistered
from streams.cli.demo.results import ProductResult, Result, SegmentResult, product_results, segment_results
from streams.cli.terminal import counted

METHOD_LABELS = {  # in the order of the columns
    "textual_inversion": "Textual Inversion",
    "dreambooth": "DreamBooth",
    "dreambooth_lora": "DreamBooth with LoRA",
}


@dataclass(frozen=True)
class Column:
    """One segment's pictures of the product. product_result: the training behind them, None before the training."""

    heading: str
    segment_result: SegmentResult
    product_result: ProductResult | None = None


@dataclass(frozen=True)
class Comparison:
    """One product, and the same segment before the training and after it with each method."""

    product: ProductRegistered
    columns: tuple[Column, ...]


def compare_products(results: Sequence[Result]) -> list[Comparison]:
    """Return a comparison per product, the column from before the training first."""
    methods = list(METHOD_LABELS)
    segments = segment_results(results)
    by_method = sorted(product_results(results), key=lambda result: methods.index(result.ready.method))
    columns: dict[str, list[Column]] = {}
    for product in by_method:
        for segment in segments:
            if segment.segment.product_id == product.ready.product_id:
                column = Column(METHOD_LABELS[product.ready.method], segment, product)
                columns.setdefault(product.product.name, []).append(column)
    return [_comparison(product_columns, segments) for product_columns in columns.values()]


def _comparison(columns: list[Column], segments: list[SegmentResult]) -> Comparison:
    names = {column.segment_result.segment.name for column in columns}
    before = [result for result in segments if result.segment.product_id is None and result.segment.name in names]
    product_result = columns[0].product_result
    assert product_result is not None
    return Comparison(product_result.product, (*(Column("Before", result) for result in before), *columns))


def other_segments(results: Sequence[Result], comparisons: Sequence[Comparison]) -> list[SegmentResult]:
    """Return the segments that are in no comparison."""
    compared = [column.segment_result for comparison in comparisons for column in comparison.columns]
    return [result for result in segment_results(results) if result not in compared]


def training_facts(result: ProductResult) -> tuple[str, ...]:
    """Return steps and duration of a training, and the likeness to the photos if it was measured."""
    ready = result.ready
    cost = f"{counted(ready.steps, 'step')}, {ready.cost.device_seconds:.0f} s"
    if "fidelity" not in ready.scores:
        return (cost,)
    after, before = ready.scores["fidelity"], ready.scores.get("fidelity_before", float("nan"))
    return cost, f"CLIP-I {after:.3f}, before {before:.3f}"
