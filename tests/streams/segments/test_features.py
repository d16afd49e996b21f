"""Features of a brand that a picture can show."""

from __future__ import annotations

import pytest

from streams.segments import features


@pytest.mark.parametrize(
    ("feature", "shown"),
    [
        ("light blue background", "light blue background"),
        ("Pastel colours", "pastel colours"),
        ("soft cotton", "soft cotton"),
        ("green", "green tones"),
        ("green and white", "green and white tones"),
        ("warm brown tones", "warm brown tones"),
        ("soft morning light", "soft morning light"),
        ("elegant", "elegant"),
        ("bold", None),
        ("zero waste", None),
        ("best price", None),
        ("fresh", None),
        ("", None),
        ("green " * 9, None),
    ],
)
def test_looks(feature: str, shown: str | None) -> None:
    assert features.look(feature) == shown


@pytest.mark.parametrize(
    ("feature", "shown"),
    [("wooden table", "wooden table"), ("on a marble countertop", "marble countertop"), ("flowers", None), ("", None)],
)
def test_surfaces(feature: str, shown: str | None) -> None:
    assert features.surface(feature) == shown


@pytest.mark.parametrize(
    ("feature", "light"),
    [("warm light", True), ("light from a window", True), ("light blue background", False), ("golden hour", True)],
)
def test_lights(feature: str, light: bool) -> None:
    assert features.names_light(feature) is light
