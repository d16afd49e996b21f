"""Scenes to pixels: sprites over walls and tables with soft shadows, in batches, on any device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .scenes import WOOD, Scenes

TABLE_TOP = 0.64  # the table's edge, as a fraction of the height
DRAWN = 248 / 256  # the part of a sprite's square that its longer side fills


@dataclass(frozen=True)
class Sprites:
    """Premultiplied sprites at 256, 128 and 64 pixels, uint8 (S, 4, P, P): a pyramid against aliasing."""

    levels: tuple[Tensor, ...]
    bottoms: Tensor  # (S,) lowest visible row as a fraction of the square

    def to(self, device: torch.device) -> "Sprites":
        """The same pyramid on `device`."""
        return Sprites(tuple(level.to(device) for level in self.levels), self.bottoms.to(device))


def pyramid(rgba: Tensor) -> Sprites:
    """Build the pyramid from straight-alpha sprites (S, 256, 256, 4) uint8."""
    visible = (rgba[..., 3] > 16).any(2)
    rows = torch.arange(1, 257).expand(len(rgba), -1)
    bottoms = torch.where(visible, rows, 0).amax(1) / 256
    levels: list[Tensor] = [_premultiplied(rgba)]
    for _ in range(2):
        halves = [functional.avg_pool2d(part.float(), 2).round().byte() for part in levels[-1].split(64)]
        levels.append(torch.cat(halves))
    return Sprites(tuple(levels), bottoms)


def _premultiplied(rgba: Tensor) -> Tensor:
    parts = []
    for part in rgba.split(64):
        alpha = part[..., 3:].float() / 255
        colour = (part[..., :3].float() * alpha).round().byte()
        parts.append(torch.cat([colour, part[..., 3:]], -1).permute(0, 3, 1, 2).contiguous())
    return torch.cat(parts)


def render(scenes: Scenes, sprites: Sprites, size: int, shadow: float = 0.35) -> Tensor:
    """Pixels (N, 3, size, size) in [0, 1]; `shadow` is the contact shadow's strength."""
    device = sprites.bottoms.device
    pixels = _backdrop(scenes, size, device)
    for slot in range(2):
        rows = torch.nonzero(scenes.sprites[:, slot] >= 0)[:, 0]
        if len(rows):
            place = scenes.places[rows, slot].to(device)
            where = rows.to(device)
            shaded = pixels[where] * (1 - _shadow(place, size, shadow))
            layer = _object(sprites, scenes.sprites[rows, slot].to(device), place, size)
            pixels[where] = shaded * (1 - layer[:, 3:]) + layer[:, :3]
    return pixels.clamp(0, 1)


def _grid(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    axis = (torch.arange(size, device=device) + 0.5) / size
    return axis[None, None, :], axis[None, :, None]


def _backdrop(scenes: Scenes, size: int, device: torch.device) -> Tensor:
    x, y = _grid(size, device)
    wall = scenes.wall.to(device)[:, :, None, None]
    kind = scenes.backdrop.to(device)[:, None, None]
    glow = torch.exp(-((x - 0.5) ** 2 + (y - 0.45) ** 2) / 0.18)
    light = torch.where(kind == 1, 1.06 - 0.22 * y, torch.ones_like(x))
    light = torch.where(kind == 2, 0.80 + 0.32 * glow, light)
    pixels = wall * light[:, None]
    board = scenes.table.to(device)[:, :, None, None] * (1.04 - 0.30 * (y - TABLE_TOP))[:, None]
    wooden = (scenes.table_name.to(device) == WOOD)[:, None, None]
    depth = (y - TABLE_TOP).clamp(min=0) * 14
    grain = 1 - 0.16 * (torch.frac(depth) < 0.12) - 0.05 * torch.sin(x * 40 + depth * 9)
    board = board * torch.where(wooden, grain, torch.ones_like(x * y))[:, None]
    edge = ((y - TABLE_TOP) * size + 0.5).clamp(0, 1)
    edge = torch.where(kind == 3, edge, torch.zeros_like(edge))[:, None]
    return pixels * (1 - edge) + board * edge


def _shadow(place: Tensor, size: int, strength: float) -> Tensor:
    """A soft ellipse under an object, (N, 1, size, size)."""
    x, y = _grid(size, place.device)
    centre, bottom, width = (place[:, i, None, None] for i in range(3))
    far = ((x - centre) / (0.40 * width)) ** 2 + ((y - bottom + 0.01) / (0.09 * width)) ** 2
    return strength * torch.exp(-far)[:, None]


def _object(sprites: Sprites, rows: Tensor, place: Tensor, size: int) -> Tensor:
    """The sprites `rows` placed in empty frames: premultiplied (N, 4, size, size) in [0, 1]."""
    extent = place[:, 2] / DRAWN
    target = float(extent.max()) * size
    level = next((i for i in (2, 1) if sprites.levels[i].shape[-1] >= target), 0)
    texture = sprites.levels[level][rows].float() / 255
    bottom = sprites.bottoms[rows] - 0.5
    theta = torch.zeros(len(rows), 2, 3, device=place.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / extent
    theta[:, 0, 2] = -(2 * place[:, 0] - 1) / extent
    theta[:, 1, 2] = -(2 * (place[:, 1] - bottom * extent) - 1) / extent
    grid = functional.affine_grid(theta, [len(rows), 4, size, size], align_corners=False)
    return functional.grid_sample(texture, grid, align_corners=False)
