"""The demo's page, index.html: every result with its prompt, pictures and recipe. It works without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.events import Image
from streams.cli.demo.comparisons import compare_products, other_segments, training_facts
from streams.cli.demo.results import Result, segment_results
from streams.cli.pictures import ranking_score

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class PagePicture:
    """One picture on the page. file: relative to the page."""

    image: Image
    file: str
    score: str


def demo_page(results: Sequence[Result]) -> str:
    """Return the page as HTML. It links the files that `output_folder.write` puts beside it."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    segments = segment_results(results)
    comparisons = compare_products(results)
    return environment.get_template("demo.html").render(
        segments=len(segments),
        results=other_segments(results, comparisons),
        comparisons=comparisons,
        pictures_of=_page_pictures,
        training_facts=training_facts,
        candidates=sum(result.ready.cost.candidates for result in segments),
        seconds=sum(result.ready.cost.device_seconds for result in segments),
        device=results[0].ready.cost.device,
        recipe=results[0].ready.recipe,
    )


def _page_pictures(result: Result) -> tuple[PagePicture, ...]:
    return tuple(
        PagePicture(picture.image, result.picture_path(picture), ranking_score(picture.image.scores))
        for picture in result.pictures
    )
