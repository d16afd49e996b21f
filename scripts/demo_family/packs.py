"""Cartons and jars of many makes, drawn as SVG: a class noun means many things, and so must its pictures.

A model that knows one carton alone has no idea of "carton" that learning a product could spare (Ruiz et al. 2022, 3.3).
"""

from dataclasses import dataclass
from random import Random

from .paint import Paint, path

MAKES = 32  # of a carton, and of a jar
FLOOR = 240.0
PRINTS = ("#2f86e8", "#d9342b", "#2e9e4f", "#f2b705", "#ee7d1b", "#7a43b6", "#139c97", "#e0629a", "#6b4423", "#1f3a70")
PAPERS = ("#f4f7fb", "#fdf3dc", "#ffffff", "#dff0fb", "#f6e0ea")
JAMS = ("#c81e3a", "#a3123f", "#ee8a1d", "#4a2a7a", "#2c3578", "#6b1f3f", "#8fa63a", "#e6b422", "#7a3b1d", "#d63a2a")
LIDS = ("#f0b323", "#e03a3a", "#2f86e8", "#2e9e4f", "#f4f0ea", "#2b2b30", "#c9ccd1", "#7a43b6")
MOTIFS = ("disc", "drop", "flower", "leaf", "hill", "bars")


@dataclass(frozen=True)
class Face:
    """A quadrilateral seen from in front: its left and right edge, each from top to bottom, (x, y) at 256 a side."""

    left: tuple[tuple[float, float], tuple[float, float]]
    right: tuple[tuple[float, float], tuple[float, float]]

    def at(self, across: float, down: float) -> tuple[float, float]:
        """The point at fractions of the face."""
        (lx, lt), (_, lb) = self.left
        (rx, rt), (_, rb) = self.right
        return lx + across * (rx - lx), (lt + down * (lb - lt)) * (1 - across) + (rt + down * (rb - rt)) * across

    def patch(self, across: tuple[float, float], down: tuple[float, float], attributes: str) -> str:
        """A part of the face, painted."""
        corners = [self.at(across[0], down[0]), self.at(across[1], down[0])]
        return polygon([*corners, self.at(across[1], down[1]), self.at(across[0], down[1])], attributes)


def polygon(points: list[tuple[float, float]], attributes: str) -> str:
    """A closed shape through the points."""
    return path(f"M{' L'.join(f'{x:.1f} {y:.1f}' for x, y in points)} Z", attributes)


def carton(p: Paint, make: int) -> str:
    """A carton of one make: gabled or flat, tall or squat, turned more or less to either side."""
    rng = Random(f"carton {make}")  # noqa: S311
    width, height = rng.uniform(112, 150), rng.uniform(116, 154)
    gabled, share = rng.random() < 0.85, rng.uniform(0.55, 0.8)
    left, near, right = 128 - width / 2, 128 - width / 2 + share * width, 128 + width / 2
    top, rise = FLOOR - height, rng.uniform(0.1, 0.4)
    turned = rise * (1 - share) * (near - left), rise * (right - near)
    front = Face(((left, top - turned[0]), (left, FLOOR - turned[0])), ((near, top), (near, FLOOR)))
    side = Face(front.right, ((right, top - turned[1]), (right, FLOOR - turned[1])))
    body, ink = rng.choice(PAPERS), rng.choice(PRINTS)  # cartons of milk are light, with one colour or two
    if rng.random() < 0.2:
        body, ink = ink, body
    roof, cap = rng.choice((ink, ink, rng.choice(PRINTS))), rng.choice((*PRINTS, "#ffffff"))
    band = (low := rng.uniform(0.5, 0.75)), min(1.0, low + rng.uniform(0.15, 0.5))
    drawn = front.patch((0, 1), (0, 1), p.tone(body)) + side.patch((0, 1), (0, 1), p.tone(body, 0.8))
    drawn += front.patch((0, 1), (band[0], band[1]), p.tone(ink))
    drawn += side.patch((0, 1), (band[0], band[1]), p.tone(ink, 0.8))
    drawn += _gable(p, (front, side), roof, rng) if gabled else _flat_top(p, (front, side), roof)
    if rng.random() < 0.6:
        x, y = front.at(0.5, -0.14 if gabled else -0.05)
        drawn += f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="15" ry="11" {p.tone(cap)}/>'
    spot = front.at(0.5, rng.uniform(0.3, 0.5))
    drawn += motif(p, rng.choice(MOTIFS), spot, (near - left) * rng.uniform(0.2, 0.34), rng)
    drawn += p.shine(front.patch((0.06, 0.12), (0.06, 0.6), 'fill="#fff" opacity=".7"'))
    return f'<g transform="matrix(-1 0 0 1 256 0)">{drawn}</g>' if rng.random() < 0.5 else drawn


def _gable(p: Paint, faces: tuple[Face, Face], colour: str, rng: Random) -> str:
    """Two slopes that meet in a ridge, and the glued strip that stands on it."""
    front, side = faces
    (left, top), (near, corner), (right, far) = front.left[0], front.right[0], side.right[0]
    lean, up, strip = (right - near) * 0.5 + 4, rng.uniform(32, 44), rng.uniform(14, 22)
    ridge = (left + lean, top - up), (near + lean, corner - up)
    standing = [*ridge, (ridge[1][0], ridge[1][1] - strip), (ridge[0][0], ridge[0][1] - strip)]
    slope = [(left, top), (near, corner), ridge[1], ridge[0]]
    return (
        polygon(slope, p.tone(colour))
        + polygon([(near, corner), ridge[1], (right, far)], p.tone(colour, 0.7))
        + polygon(standing, p.tone(colour, 1.12))
    )


def _flat_top(p: Paint, faces: tuple[Face, Face], colour: str) -> str:
    """The flat top, as far as it is seen."""
    front, side = faces
    (left, top), near, (right, far) = front.left[0], front.right[0], side.right[0]
    behind = (left + (right - near[0]), min(top, far) - 10)
    return polygon([(left, top), near, (right, far), behind], p.tone(colour, 1.12))


def jar(p: Paint, make: int) -> str:
    """A jar of jam of one make: straight or bulging, tall or squat, with a label, a lid, and jam of some fruit."""
    rng = Random(f"jar {make}")  # noqa: S311
    width, height = rng.uniform(112, 168), rng.uniform(112, 170)
    left, top, bulge = 128 - width / 2, FLOOR - height, rng.choice((12, 24, 40, 56))
    jam, lid = rng.choice(JAMS), rng.choice(LIDS)
    low, mouth = rng.uniform(24, 44), width * rng.uniform(0.78, 0.96)
    drawn = _box((left, top), (width, height), bulge, p.tone("#f1dfe1"))
    drawn += _box((left + 6, top + 12), (width - 12, height - 18), bulge * 0.8, p.tone(jam))
    drawn += _box((128 - mouth / 2, top - low), (mouth, low + 6), 8, p.tone(lid))
    if rng.random() < 0.4:
        other = p.tone(rng.choice(LIDS))
        drawn += "".join(
            _box((128 - mouth / 2 + mouth * i / 7, top - low + 3), (mouth / 8, low), 2, other) for i in (1, 3, 5)
        )
    if rng.random() < 0.5:
        drawn += f'<ellipse cx="128" cy="{top - low:.1f}" rx="{mouth / 2:.1f}" ry="8" {p.tone(lid, 1.15)}/>'
    drawn += _label(p, (left, top, width, height), rng)
    return drawn + p.shine(_box((left + 12, top + 18), (9, height * 0.6), 4, 'fill="#fff" opacity=".6"'))


def _label(p: Paint, body: tuple[float, float, float, float], rng: Random) -> str:
    left, top, width, height = body
    paper, down = rng.choice((*PAPERS, "#2b2b30", "#f2b705", "#cfe8c8")), rng.uniform(0.3, 0.42)
    tall, kind = height * rng.uniform(0.34, 0.46), rng.choice(("band", "plate", "oval", "band"))
    middle = top + height * down + tall / 2
    if kind == "oval":
        drawn = f'<ellipse cx="128" cy="{middle:.1f}" rx="{width * 0.36:.1f}" ry="{tall / 2:.1f}" {p.tone(paper)}/>'
    else:
        inset = 0.0 if kind == "band" else width * 0.14
        drawn = _box(
            (left + inset, middle - tall / 2), (width - 2 * inset, tall), 0 if kind == "band" else 10, p.tone(paper)
        )
    if kind == "band" and rng.random() < 0.6:
        edge = p.tone(rng.choice(PRINTS))
        drawn += _box((left, middle - tall / 2), (width, 8), 0, edge) + _box(
            (left, middle + tall / 2 - 8), (width, 8), 0, edge
        )
    return drawn + motif(p, rng.choice(MOTIFS[:4]), (128, middle), tall * 0.34, rng)


def motif(p: Paint, name: str, at: tuple[float, float], size: float, rng: Random) -> str:
    """What is printed in the middle: `size` is its radius."""
    (x, y), colour = at, p.tone(rng.choice((*PRINTS, "#ffffff")))
    if name == "disc":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {colour}/>' + leaf(p, (x, y - size), size * 0.5)
    if name == "drop":
        curve = f"M{x} {y - size} C {x - size} {y} {x - size} {y + size} {x} {y + size} "
        return path(curve + f"C {x + size} {y + size} {x + size} {y} {x} {y - size} Z", colour)
    if name == "flower":
        turns = ((1, 0), (0.5, 0.87), (-0.5, 0.87), (-1, 0), (-0.5, -0.87), (0.5, -0.87))
        petals = "".join(
            _disc(x + dx * size * 0.62, y + dy * size * 0.62, size * 0.42, p.tone("#ffffff")) for dx, dy in turns
        )
        return petals + _disc(x, y, size * 0.42, p.tone("#ffc61a"))
    if name == "leaf":
        return leaf(p, (x, y), size)
    if name == "hill":
        return path(f"M{x - size} {y + size} Q {x} {y - size} {x + size} {y + size} Z", p.tone("#37a84a"))
    return "".join(
        _box((x - size, y - size * 0.6 + size * i * 0.5), (2 * size, size * 0.28), 2, colour) for i in range(3)
    )


def leaf(p: Paint, at: tuple[float, float], size: float) -> str:
    """A green leaf that leans to the right."""
    x, y = at
    curve = f"M{x - size} {y + size * 0.6} Q {x - size * 0.6} {y - size} {x + size} {y - size * 0.6} "
    return path(curve + f"Q {x + size * 0.5} {y + size} {x - size} {y + size * 0.6} Z", p.tone("#3f9d45"))


def _box(at: tuple[float, float], size: tuple[float, float], radius: float, attributes: str) -> str:
    (x, y), (width, height) = at, size
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.1f}" {attributes}/>'


def _disc(x: float, y: float, radius: float, attributes: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {attributes}/>'
