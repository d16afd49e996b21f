"""The picture formats: the aspect ratio of each, and the shape in which a model draws it.

`models.briefs.Format` lists the same names for the wire, without torch.
"""

from __future__ import annotations

import math

from models.briefs import Format

ASPECTS: dict[Format, float] = {"square": 1.0, "portrait": 4 / 5, "landscape": 1.91, "story": 9 / 16}
"""Width divided by height."""


def shape_of(picture_format: Format, size: int, grain: int) -> tuple[int, int]:
    """Return (height, width) in pixels, both multiples of grain: near the format's aspect and near size^2 in area.

    It minimizes 2 |log(aspect error)| + |log(area error)|, with both errors as ratios.
    """
    aspect = ASPECTS[picture_format]
    sides = range(grain, 3 * size + 1, grain)

    def error(shape: tuple[int, int]) -> float:
        height, width = shape
        return 2 * abs(math.log(width / height / aspect)) + abs(math.log(height * width / size**2))

    return min(((height, width) for height in sides for width in sides), key=error)
