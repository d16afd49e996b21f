"""Stage `judge`: a classifier trained on real composites alone, apart from CLIP, that names what pictures show."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import material, scenes
from .training import Budget, Recipe, Run, averaged, train

RECIPE = Recipe(rate=2e-3, decay=0.02, ema=0.99, warmup=50, cooldown=0.5)


class Block(nn.Module):
    """Two 3x3 convolutions around a skip, at half the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, 2, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(before, after, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, H/2, W/2)."""
        inner = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(inner)) + self.skip(functional.avg_pool2d(x, 2)))


class Judge(nn.Module):
    """Names concepts: pixels (N, 3, 64, 64) in [0, 1] to logits (N, C)."""

    def __init__(self, concepts: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.Sequential(Block(32, 64), Block(64, 128), Block(128, 192))
        self.head = nn.Linear(192 * 4, concepts)

    def features(self, pixels: Tensor) -> Tensor:
        """What the head sees, (N, 768): the space that the kernel distance is measured in."""
        hidden = self.blocks(functional.relu(self.stem(pixels * 2 - 1)))
        return functional.adaptive_avg_pool2d(hidden, 2).flatten(1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N, C); a picture of two things has two high ones."""
        logits: Tensor = self.head(self.features(pixels))
        return logits


def augment(pixels: Tensor) -> Tensor:
    """Shifted, tinted, softened and noised pictures, so that the judge names the thing and not its sharpness."""
    n, _, h, w = pixels.shape
    top, left = torch.randint(0, 9, (2,)).tolist()
    pixels = functional.pad(pixels, (4, 4, 4, 4), mode="replicate")[:, :, top : top + h, left : left + w]
    pixels = pixels * (1 + 0.08 * torch.randn(n, 3, 1, 1)) + 0.04 * torch.randn(n, 1, 1, 1)
    if torch.rand(()) < 0.4:
        pixels = functional.interpolate(functional.avg_pool2d(pixels, 2), size=(h, w), mode="bilinear")
    return (pixels + 0.05 * torch.rand(n, 1, 1, 1) * torch.randn(n, 3, h, w)).clamp(0, 1)


def targets(shown: scenes.Scenes, concepts: int) -> Tensor:
    """The share of each concept in each picture, (N, concepts); rows sum to one."""
    slots = functional.one_hot(shown.concepts + 1, concepts + 1)[..., 1:].sum(1).float()
    return slots / slots.sum(1, keepdim=True)


def fit(work: Path, budget: Budget, device: torch.device, batch: int = 64) -> Judge:
    """Train the judge on new composites."""
    art = material.load(work)
    torch.manual_seed(RECIPE.seed)
    count = len(art.concepts)
    model = Judge(count)
    model.to(device).to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        composed, shown = material.compose(art, batch, RECIPE.seed + step)
        pixels = augment(composed).to(device, memory_format=torch.channels_last)
        return functional.cross_entropy(model(pixels), targets(shown, count).to(device))

    train(model, loss, Run(work / "judge", device), budget, RECIPE)
    return model


def trained(work: Path, device: torch.device) -> Judge:
    """The judge as the last checkpoint has it."""
    model = averaged(Judge(material.count(work)), work / "judge", device)
    assert isinstance(model, Judge)
    return model
