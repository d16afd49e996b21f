"""What is in a picture: drawn as numbers first, so that the caption and the pixels tell the same story."""

from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (247, 247, 245),
    "black": (28, 28, 32),
    "gray": (140, 144, 150),
    "red": (205, 42, 48),
    "orange": (240, 136, 42),
    "yellow": (248, 212, 66),
    "green": (66, 158, 78),
    "teal": (38, 150, 150),
    "light blue": (160, 208, 240),
    "blue": (44, 96, 200),
    "purple": (126, 74, 178),
    "pink": (244, 160, 188),
    "beige": (234, 218, 190),
    "brown": (128, 84, 52),
}
NAMES = tuple(COLOURS)
WOOD = len(NAMES)  # a table's colour number that means planks
BACKDROPS = ("plain", "gradient", "soft light", "table")
PAIRS = 0.45  # of the scenes show two things
STYLE_SHARE = (0.88, 0.07, 0.05)  # 3d, flat, noto: an advertiser asks for photo-like pictures


@dataclass(frozen=True)
class Scenes:
    """A batch of N scenes; every field's first dimension is N. Lengths are fractions of the frame.

    `sprites` (N, 2) rows of the sprite table, -1 for no second object; `concepts` (N, 2) alike.
    `style` (N,), `backdrop` (N,) index STYLES and BACKDROPS; `wall`, `table` (N, 3) RGB in [0, 1].
    `wall_name` (N,) index NAMES or -1 for a tone without a name; `table_name` (N,) likewise, or WOOD.
    `places` (N, 2, 3): centre x, bottom y, size.
    """

    sprites: Tensor
    concepts: Tensor
    style: Tensor
    backdrop: Tensor
    wall: Tensor
    table: Tensor
    wall_name: Tensor
    table_name: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.style)

    def take(self, index: Tensor) -> "Scenes":
        """The scenes at `index`."""
        return Scenes(**{name: value[index] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Shelves:
    """The sprite table's rows: `table` (C, 3) first row of concept and style or -1, `makes` (C, 3) how many there are.

    `weights` (C,) says how often a concept is drawn.
    """

    table: Tensor
    makes: Tensor
    weights: Tensor

    def pick(self, concepts: Tensor, style: Tensor, rng: torch.Generator) -> Tensor:
        """A row for each concept of (N, 2) in its scene's style (N,), of any make; -1 where there is no concept."""
        first, makes = self.table[concepts, style[:, None]], self.makes[concepts, style[:, None]]
        make = (torch.rand(concepts.shape, generator=rng) * makes).long()
        return torch.where(concepts < 0, -1, first + make)


def shelves(rows: Tensor, concepts: int, weights: Tensor) -> Shelves:
    """Index the sprites' (S, 2) rows of concept and style, sorted by both; a row for each make.

    What comes in many makes is drawn more often, by the root of their number: there is more to learn.
    """
    where = rows[:, 0].long() * 3 + rows[:, 1].long()
    makes = torch.bincount(where, minlength=concepts * 3).view(concepts, 3)
    table = (makes.flatten().cumsum(0).view(concepts, 3) - makes).masked_fill(makes == 0, -1)
    return Shelves(table, makes, weights * makes.amax(1).clamp(min=1).sqrt())


def draw(shelf: Shelves, n: int, rng: torch.Generator, pairs: float = PAIRS) -> Scenes:
    """Draw `n` scenes; a share `pairs` of them holds two objects, the first one on the left."""
    style = torch.multinomial(torch.tensor(STYLE_SHARE), n, True, generator=rng)
    concepts = torch.multinomial(shelf.weights, 2 * n, True, generator=rng).view(n, 2)
    style = torch.where((shelf.table[concepts, style[:, None]] < 0).any(1), 0, style)
    single = torch.rand(n, generator=rng) >= pairs
    single |= concepts[:, 0] == concepts[:, 1]
    concepts[single, 1] = -1
    sprites = shelf.pick(concepts, style, rng)
    wall, wall_name = _tones(n, 0.65, rng)
    table, table_name = _tones(n, 0.6, rng)
    backdrop = torch.multinomial(torch.tensor([0.35, 0.15, 0.2, 0.3]), n, True, generator=rng)
    wooden = torch.rand(n, generator=rng) < 0.35
    table_name[wooden] = WOOD
    table[wooden] = torch.tensor([176, 122, 76]) / 255
    quiet = (backdrop == 3) & (torch.rand(n, generator=rng) < 0.6)
    wall[quiet], wall_name[quiet] = _pastel(n, rng)[quiet], -1
    table_name[backdrop != 3] = -1
    places = _places(n, concepts[:, 1] >= 0, rng)
    return Scenes(sprites, concepts, style, backdrop, wall, table, wall_name, table_name, places)


def _tones(n: int, named: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Colours (n, 3) and their names (n,): a share `named` of the list's colours, light tones otherwise."""
    palette = torch.tensor(list(COLOURS.values())) / 255
    name = torch.randint(len(NAMES), (n,), generator=rng)
    tone = palette[name] + 0.025 * torch.randn(n, 3, generator=rng)
    unnamed = torch.rand(n, generator=rng) >= named
    tone[unnamed], name[unnamed] = _pastel(n, rng)[unnamed], -1
    return tone.clamp(0, 1), name


def _pastel(n: int, rng: torch.Generator) -> Tensor:
    """Light, quiet tones (n, 3) for captions that do not ask for a colour."""
    warm = torch.tensor([0.95, 0.93, 0.90]) + 0.03 * torch.randn(n, 1, generator=rng)
    return (warm + 0.025 * torch.randn(n, 3, generator=rng)).clamp(0.75, 1)


def _places(n: int, pair: Tensor, rng: torch.Generator) -> Tensor:
    noise = torch.rand(n, 2, 3, generator=rng) * 2 - 1
    single = torch.tensor([[0.5, 0.86, 0.70], [0.5, 0.86, 0.70]]) + noise * torch.tensor([0.03, 0.02, 0.06])
    double = torch.tensor([[0.27, 0.80, 0.47], [0.73, 0.80, 0.47]]) + noise * torch.tensor([0.02, 0.02, 0.03])
    return torch.where(pair[:, None, None], double, single)
