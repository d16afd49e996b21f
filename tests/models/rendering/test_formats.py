"""Formats: the same names in every package, and the shapes that a model draws."""

from typing import get_args

import pytest

import schemas.base
from models import briefs
from models.rendering.formats import ASPECTS, shape_of
from streams.cli.generate import FORMATS


def test_events_briefs_table_and_command_name_the_same_formats():
    assert get_args(briefs.Format) == get_args(schemas.base.Format) == tuple(ASPECTS) == FORMATS


@pytest.mark.parametrize(
    ("name", "size", "grain", "shape"),
    [
        ("square", 512, 64, (512, 512)),
        ("portrait", 512, 64, (576, 448)),
        ("landscape", 512, 64, (384, 704)),
        ("story", 512, 64, (704, 384)),
        ("square", 1024, 32, (1024, 1024)),
        ("portrait", 1024, 32, (1152, 928)),
        ("landscape", 1024, 32, (736, 1408)),
        ("story", 1024, 32, (1376, 768)),
        ("square", 64, 32, (64, 64)),
    ],
)
def test_formats_keep_the_native_area(name, size, grain, shape):
    assert shape_of(name, size, grain) == shape
