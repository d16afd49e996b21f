"""Draw the photos of the demo's two products: `python scripts/product_photos/draw.py`.

Łąka is a carton of milk with a daisy on a meadow, Malina a jar of raspberry jam with a berry on a cream band.
The script writes the photos to docs/examples/products, with the same bytes each time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from labels import Texture, meadow, meadow_side, raspberry
from PIL import Image
from scene import Points, Room, Shape, View, picture

SIDE = 512
TARGET = Path(__file__).parents[2] / "docs" / "examples" / "products"

VIEWS = (View(22, 16, 5.0), View(-32, 22, 5.2), View(6, 9, 4.7, 0.06), View(40, 30, 5.3), View(-14, 13, 4.6, -0.08))
ROOMS = (
    Room((0.93, 0.90, 0.86), (0.97, 0.96, 0.94)),
    Room((0.72, 0.50, 0.32), (0.95, 0.88, 0.76), planks=True),
    Room((0.62, 0.82, 0.80), (0.80, 0.92, 0.91)),
    Room((0.97, 0.83, 0.55), (0.99, 0.92, 0.74)),
    Room((0.80, 0.74, 0.86), (0.90, 0.87, 0.95)),
)

HALF, SHOULDER, RIDGE = 0.40, 1.06, 1.42


def carton() -> Shape:
    """Return a gable-top carton: a square column, and a roof with a flat ridge and a red cap on the front slope."""
    front, side = meadow(), meadow_side()

    def colour(points: Points, normals: Points) -> Points:
        high = points[:, 1] / SHOULDER
        on_front = np.abs(normals[:, 2]) > np.abs(normals[:, 0])
        along = np.where(on_front, points[:, 0] * np.sign(normals[:, 2]), -points[:, 2] * np.sign(normals[:, 0]))
        across = along / (2 * HALF) + 0.5
        painted = np.where(on_front[:, None], sample(front, across, 1 - high), sample(side, across, 1 - high))
        painted[points[:, 1] > SHOULDER] = (0.96, 0.97, 0.99)
        painted[points[:, 1] > RIDGE - 0.16] = (0.16, 0.50, 0.86)
        painted[cap(points) < 4e-3] = (0.90, 0.16, 0.18)
        return painted

    return Shape(lambda points: np.minimum(column(points), np.minimum(roof(points), cap(points))), colour, 0.22)


def column(points: Points) -> Points:
    """Return the distance to a rounded box from the floor to the shoulder."""
    return rounded_box(points - [0, SHOULDER / 2, 0], (HALF, SHOULDER / 2, HALF), 0.035)


def roof(points: Points) -> Points:
    """Return the distance to two slopes that meet in a ridge along x, with a glued strip on top."""
    up, out = points[:, 1] - SHOULDER + 0.02, np.abs(points[:, 2])
    steep = 0.24 / HALF
    slopes = (up - 0.26 + out * steep) / np.hypot(1, steep)
    wedge = np.maximum(np.maximum(slopes, -up), np.abs(points[:, 0]) - HALF) - 0.012
    strip = rounded_box(points - [0, RIDGE - 0.12, 0], (HALF, 0.12, 0.03), 0.015)
    return np.minimum(wedge, strip)


def cap(points: Points) -> Points:
    """Return the distance to a screw cap on the front slope, perpendicular to the slope."""
    axis = np.array([0.0, 0.86, 0.51])
    local = points - [0.0, SHOULDER + 0.15, 0.24]
    along = local @ axis
    around = np.linalg.norm(local - along[:, None] * axis, axis=1)
    return np.maximum(around - 0.12, np.abs(along) - 0.07) - 0.015


def jar() -> Shape:
    """Return a round jar full of red jam, with a cream band around it and a yellow lid."""
    band = raspberry()

    def colour(points: Points, normals: Points) -> Points:
        around = np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.75
        painted = np.full_like(points, 0.0)
        painted[:] = (0.78, 0.05, 0.16)
        seeds = np.sin(points[:, 0] * 31 + 2 * points[:, 1]) * np.sin(points[:, 1] * 37) * np.sin(points[:, 2] * 29)
        painted[seeds > 0.72] = (0.93, 0.24, 0.33)
        low, high = 0.26, 0.80
        wrapped = (points[:, 1] > low) & (points[:, 1] < high) & (np.abs(normals[:, 1]) < 0.5)
        painted[wrapped] = sample(band, around % 1, 1 - (points[:, 1] - low) / (high - low))[wrapped]
        painted[(points[:, 1] > 1.02) & (points[:, 1] < 1.1)] = (0.93, 0.80, 0.82)
        lid = points[:, 1] > 1.09
        painted[lid] = (0.98, 0.72, 0.05)
        ribs = lid & (np.sin(around * 2 * np.pi * 44) > 0.2) & (np.abs(normals[:, 1]) < 0.4)
        painted[ribs] = (0.90, 0.62, 0.02)
        return painted

    def distance(points: Points) -> Points:
        body = tube(points - [0, 0.53, 0], 0.56, 0.53, 0.14)
        neck = tube(points - [0, 1.06, 0], 0.46, 0.08, 0.02)
        lid = tube(points - [0, 1.22, 0], 0.52, 0.13, 0.05)
        return np.minimum(body, np.minimum(neck, lid))

    return Shape(distance, colour, 0.75)


def rounded_box(points: Points, half: tuple[float, float, float], radius: float) -> Points:
    """Return the signed distance to a box with half extents `half` and edges rounded by `radius`."""
    beyond = np.abs(points) - np.asarray(half) + radius
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return outside + np.minimum(beyond.max(1), 0) - radius


def tube(points: Points, width: float, half_height: float, radius: float) -> Points:
    """Return the signed distance to an upright cylinder whose rims are rounded by `radius`."""
    beyond = np.stack(
        [np.hypot(points[:, 0], points[:, 2]) - width + radius, np.abs(points[:, 1]) - half_height + radius]
    )
    return np.minimum(beyond.max(0), 0) + np.hypot(*np.maximum(beyond, 0)) - radius


def sample(texture: Texture, across: Points, down: Points) -> Points:
    """Return the nearest texels (N,3) of a label at positions in [0,1]."""
    rows = np.clip((down * texture.shape[0]).astype(int), 0, texture.shape[0] - 1)
    columns = np.clip((across * texture.shape[1]).astype(int), 0, texture.shape[1] - 1)
    return texture[rows, columns]


def main() -> None:
    """Draw every product from every view, each in another room."""
    for name, shape in (("milk", carton()), ("jam", jar())):
        folder = TARGET / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, (view, room) in enumerate(zip(VIEWS, ROOMS, strict=True), start=1):
            pixels = picture(shape, view, room, SIDE)
            Image.fromarray(pixels).save(folder / f"{number}.png", optimize=True)
        print(f"{len(VIEWS)} photos of {name} in {folder}")


if __name__ == "__main__":
    main()
