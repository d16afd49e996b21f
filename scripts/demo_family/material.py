"""What every stage learns from: the art, prepared once in the work folder, and composites of it, always new."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import art, composites, concepts, packages, scenes
from .paint import STYLES

FRAME = 64
UNSEEN = 10**9  # added to the seeds of what is only measured on
STYLE_PACKAGES = dict(
    zip(STYLES, ("@lobehub/fluent-emoji-3d", "@iconify-json/fluent-emoji-flat", "@iconify-json/noto"), strict=True)
)


@dataclass(frozen=True)
class Art:
    """All that composites are made from: concepts, their sprites as a pyramid, and the sprite rows.

    `seldom`: how often a concept that the UNet need not draw is shown, against one that it must.
    """

    concepts: list[concepts.Concept]
    sprites: composites.Sprites
    rows: Tensor
    seldom: float = 0.35

    @property
    def shelf(self) -> scenes.Shelves:
        """The sampling table: what is to be drawn, and now and then any other concept."""
        weights = torch.tensor([1.0 if c.drawn else self.seldom for c in self.concepts])
        return scenes.shelves(self.rows, len(self.concepts), weights)


def prepare(work: Path) -> None:
    """Fetch, rasterise and save what `load` reads."""
    work.mkdir(parents=True, exist_ok=True)
    roots = {name.rsplit("@", 1)[0]: packages.unpacked(name, work / "packages") for name in packages.PACKAGES}
    things = concepts.load(roots["emojibase-data"])
    sprites, rows = art.rasterise(things, {style: roots[name] for style, name in STYLE_PACKAGES.items()})
    np.save(work / "sprites.npy", sprites)
    np.save(work / "rows.npy", rows)
    concepts.save(things, work / "concepts.json")


def load(work: Path) -> Art:
    """Read the prepared art."""
    rgba = torch.from_numpy(np.load(work / "sprites.npy"))
    rows = torch.from_numpy(np.load(work / "rows.npy"))
    return Art(concepts.read(work / "concepts.json"), composites.pyramid(rgba), rows)


def count(work: Path) -> int:
    """The number of concepts, without reading the pictures."""
    return len(concepts.read(work / "concepts.json"))


def compose(art: Art, count: int, seed: int, pairs: float = scenes.PAIRS) -> tuple[Tensor, scenes.Scenes]:
    """New composites (count, 3, 64, 64) in [0, 1] and their scenes; a share `pairs` of them shows two things.

    Every step of every stage shows new ones: with some ninety thousand ordered pairs of things, a pool drawn once
    would show each pair a time or two, and the nets would learn the pool.
    """
    shown = scenes.draw(art.shelf, count, torch.Generator().manual_seed(seed), pairs)
    parts = [composites.render(shown.take(i), art.sprites, FRAME) for i in torch.arange(count).split(64)]
    return torch.cat(parts), shown


def held_out(art: Art, count: int, seed: int = 999, pairs: float = 0.3) -> tuple[Tensor, scenes.Scenes]:
    """New composites as `compose` makes them, from seeds that no stage trains on."""
    return compose(art, count, UNSEEN + seed, pairs)
