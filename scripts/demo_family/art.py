"""Sprites: every concept in every style as 256 px RGBA, rasterised once."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from .concepts import OWN, Concept
from .drawings import makes, svg
from .paint import STYLES

SIZE = 256


def rasterise(concepts: list[Concept], roots: dict[str, Path]) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Draw the concepts: sprites (S, 256, 256, 4) and their rows (S, 2) of concept and style number.

    `roots` maps a style to the root of its package. A concept without art in a style is left out there; one of many
    makes has as many rows in each style, one behind the other.
    """
    vectors = {style: _icons(roots[style]) for style in STYLES if style != "3d"}
    jobs = [
        (c, s, concept, make)
        for c, concept in enumerate(concepts)
        for s in range(len(STYLES))
        for make in range(makes(concept.hexcode) if concept.label.startswith(OWN) else 1)
    ]

    def draw(job: tuple[int, int, Concept, int]) -> Image.Image | None:
        _, number, concept, make = job
        style = STYLES[number]
        if concept.label.startswith(OWN):
            return raster(svg(concept.hexcode, style, make))
        if style == "3d":
            return _render(roots["3d"], concept.hexcode)
        found = _icon(vectors[style], concept.hexcode)
        return raster(found) if found else None

    with ThreadPoolExecutor() as threads:
        images = list(threads.map(draw, jobs))
    kept = [(job, image) for job, image in zip(jobs, images, strict=True) if image is not None]
    sprites = np.stack([_centred(image) for _, image in kept])
    return sprites, np.array([job[:2] for job, _ in kept], np.int16)


def _centred(image: Image.Image) -> NDArray[np.uint8]:
    """Crop to what is visible and fit the longer side to 248 of 256 pixels, standing in the middle."""
    box = image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox() or (0, 0, SIZE, SIZE)
    image = image.crop(box)
    scale = 248 / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    canvas.paste(image, ((SIZE - size[0]) // 2, (SIZE - size[1]) // 2))
    return np.asarray(canvas)


def raster(text: str) -> Image.Image:
    """SVG as RGBA, 256 pixels a side."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text, width=SIZE, height=SIZE)))).convert(
        "RGBA"
    )


def _spellings(hexcode: str) -> tuple[str, ...]:
    return (hexcode, f"{hexcode}-fe0f", hexcode.replace("-fe0f", ""))


def _render(root: Path, hexcode: str) -> Image.Image | None:
    for spelling in _spellings(hexcode):
        path = root / "assets" / f"{spelling}.webp"
        if path.exists():
            return Image.open(path).convert("RGBA")
    return None


def _icons(root: Path) -> tuple[dict[str, str], dict[str, dict[str, object]], int]:
    icons = json.loads((root / "icons.json").read_text("utf-8"))
    names = json.loads((root / "chars.json").read_text("utf-8"))
    return names, icons["icons"], int(icons.get("width", 32))


def _icon(icons: tuple[dict[str, str], dict[str, dict[str, object]], int], hexcode: str) -> str | None:
    names, bodies, width = icons
    for spelling in _spellings(hexcode):
        if spelling in names and names[spelling] in bodies:
            body = bodies[names[spelling]]["body"]
            return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {width}">{body}</svg>'
    return None
