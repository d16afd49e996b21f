"""The flat labels of the two products; scene.py wraps them around carton and jar."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONT = Path(__file__).parents[2] / "streams" / "cli" / "fonts" / "Inter-SemiBold.ttf"

Texture = NDArray[np.float64]


def meadow() -> Texture:
    """Return the front of the Łąka carton, (H,W,3) in [0,1]: blue sky, a daisy, a green hill, the name in white."""
    width, height = 512, 768
    label = Image.new("RGB", (width, height), "#2f8fe0")
    draw = ImageDraw.Draw(label)
    draw.ellipse((-220, 500, 420, 1100), fill="#37a84a")
    draw.ellipse((140, 560, 760, 1100), fill="#2b8c3e")
    _daisy(draw, (256, 400), 150)
    _write(draw, "Łąka", (256, 140), 150, "white")
    _write(draw, "mleko 3,2 %", (256, 690), 58, "white")
    return _texture(label)


def meadow_side() -> Texture:
    """Return the side of the Łąka carton: the same sky and hill without the daisy."""
    label = Image.new("RGB", (512, 768), "#2780cd")
    draw = ImageDraw.Draw(label)
    draw.ellipse((-160, 540, 680, 1200), fill="#2f9442")
    _write(draw, "Łąka", (256, 250), 110, "white")
    return _texture(label)


def raspberry() -> Texture:
    """Return the cream band around the Malina jar, (H,W,3) in [0,1], with a berry in front; W is the circumference."""
    width, height = 2048, 420
    label = Image.new("RGB", (width, height), "#fff3d6")
    draw = ImageDraw.Draw(label)
    for top in (0, height - 46):
        draw.rectangle((0, top, width, top + 46), fill="#f2b705")
    for middle in (width // 4, 3 * width // 4):
        _berry(draw, (middle, 215), 62)
        _write(draw, "Malina", (middle + width // 4, 215), 110, "#b3123f")
    return _texture(label)


def _daisy(draw: ImageDraw.ImageDraw, centre: tuple[int, int], radius: int) -> None:
    for petal in range(12):
        angle = petal * math.pi / 6
        x, y = centre[0] + math.cos(angle) * radius * 0.66, centre[1] + math.sin(angle) * radius * 0.66
        draw.ellipse((x - radius / 3, y - radius / 3, x + radius / 3, y + radius / 3), fill="white")
    reach = radius * 0.45
    draw.ellipse((centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach), fill="#ffc61a")


def _berry(draw: ImageDraw.ImageDraw, centre: tuple[int, int], size: int) -> None:
    """Draw nineteen drupelets in rows, and two leaves."""
    x, y = centre
    for row, count in enumerate((4, 5, 4, 3, 2, 1)):
        for place in range(count):
            left = x + (place - (count - 1) / 2) * size * 0.72
            top = y - size * 0.9 + row * size * 0.55
            reach = size * 0.44
            draw.ellipse(
                (left - reach, top - reach, left + reach, top + reach), fill="#d81e50", outline="#a50f38", width=4
            )
    for side in (-1, 1):
        tip = (x + side * size * 1.5, y - size * 1.9)
        draw.polygon([(x, y - size * 1.2), (x + side * size * 0.3, y - size * 2.0), tip], fill="#2f9442")


def _write(draw: ImageDraw.ImageDraw, text: str, centre: tuple[int, int], size: int, colour: str) -> None:
    draw.text(centre, text, colour, ImageFont.truetype(FONT, size), anchor="mm")


def _texture(image: Image.Image) -> Texture:
    return np.asarray(image, np.float64) / 255
