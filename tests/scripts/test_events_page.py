"""The figures that docs/events.md states about prompts, pictures and photos are those of the code."""

import json
import math
from pathlib import Path

import pytest

import models
from models.learning import dreambooth, photo_decoder, photo_decoding, photos, textual_inversion
from models.rendering.formats import ASPECTS, shape_of
from scripts.contract_docs.events_page import NATIVE_SIZES, SIZES
from streams.kafka import record_format
from streams.products import photo_hosts, photo_keys
from streams.segments import lexicon, mentions, prompting, scene, translation
from streams.training_settings import TrainingSettings

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
    limits = TrainingSettings()
    assert f"{limits.max_photo_pixels // 10**6} megapixels\n" in PAGE
    assert f"of a registration have at most {limits.max_total_photo_bytes // 2**20} MiB" in PAGE
    assert f"{limits.max_total_photo_pixels // 10**6}\n  megapixels" in PAGE
    assert f"may take {limits.photo_seconds} s of processor time" in PAGE
    memory = f"{photo_decoder._MEMORY // 2**20} MiB of memory with\n  {photo_decoder._MEMORY_PER_PIXEL} bytes for each"
    assert memory in PAGE
    assert f"at least {photo_decoding.MIN_SIDE} px" in PAGE
    assert f"At most {photo_hosts._REDIRECTS} redirects" in PAGE
    assert f"must lie below `{photo_keys.PHOTOS}`" in PAGE
    assert ", ".join({"WEBP": "WebP"}.get(form, form) for form in photo_decoding.FILE_TYPES) in PAGE


def test_the_limits_of_record_batches():
    page = " ".join(PAGE.split())
    assert f"A batch may inflate to at most {record_format.MAX_INFLATED_BYTES // 2**20} MiB" in page
    assert f"a record may have {record_format.MAX_HEADERS} headers" in page


def test_training_defaults():
    steps = dreambooth.Options().steps, textual_inversion.Options().steps
    assert f"{steps[0]} for both DreamBooths and {steps[1]:,} for Textual Inversion" in PAGE
