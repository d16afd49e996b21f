"""The figures that docs/events.md states about prompts, pictures and photos are those of the code."""

import json
import math
from pathlib import Path

import pytest

import models
from models.learning import dreambooth, photos, textual_inversion
from models.rendering.formats import ASPECTS, shape_of
from scripts.contract_docs.events_page import NATIVE_SIZES, SIZES
from streams.products import photos as photo_fetching
from streams.segments import lexicon, mentions, prompting, scene, translation

DEMO = json.loads((Path(models.__file__).parent / "demo" / "family.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
GRAINS = {64: 16, 512: 64, 768: 64, 1024: 32}  # the demo family, SD 1.5, SD 2.x, SDXL: see DiffusionGenerator.grain


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_what_the_generator_draws(name):
    aspect, shapes = SIZES[name]
    width, _, height = aspect.partition(":")
    assert math.isclose(float(width) / float(height or 1), ASPECTS[name])
    drawn = [shape_of(name, size, GRAINS[size])[::-1] for size in NATIVE_SIZES]
    assert list(shapes) == drawn


def test_every_format_has_a_size():
    assert set(SIZES) == set(ASPECTS)


def test_the_prompts_template_and_limits():
    assert f"(template {prompting.TEMPLATE_VERSION})" in PAGE
    page = " ".join(PAGE.split())
    keywords, interests, features = mentions.MOST_READ.values()
    assert f"first {keywords} keywords (by weight), {interests} interests and {features} features" in page
    assert f"first {translation._MOST_WORDS} words of the description" in page
    assert f"Up to {scene._MOST_FEATURES} features" in page
    languages = sum(1 for _ in (Path(lexicon.__file__).parent / "terms").iterdir())
    assert f"the word table of its `language` ({languages} languages" in page
    assert f"demo family lists {len(DEMO['vocabulary'])}" in page


def test_the_limits_of_photos():
    assert f"Training needs {photos.MIN_PHOTOS} usable photos" in PAGE
    assert f"{photos.MAX_PIXELS // 10**6} megapixels" in PAGE
    assert f"at least {photos.MIN_SIDE}\n  px" in PAGE
    assert f"At most {photo_fetching._REDIRECTS} redirects" in PAGE
    assert f"must lie below `{photo_fetching.PHOTOS}`" in PAGE
    assert ", ".join({"WEBP": "WebP"}.get(form, form) for form in photos.FILE_TYPES) in PAGE


def test_training_defaults():
    steps = dreambooth.Options().steps, textual_inversion.Options().steps
    assert f"{steps[0]} for both DreamBooths and {steps[1]:,} for Textual Inversion" in PAGE
