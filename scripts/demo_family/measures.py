"""What the quality table measures, as functions of pictures."""

import torch
from torch import Tensor
from torch.nn import functional

from . import scenes
from .judge import Judge


def decibels(pixels: Tensor, target: Tensor) -> float:
    """Mean peak signal-to-noise ratio of pictures (N, 3, H, W) in [0, 1]."""
    error = (pixels.clamp(0, 1) - target).square().mean((1, 2, 3)).clamp(min=1e-10)
    return float((-10 * torch.log10(error)).mean())


@torch.no_grad()
def named(judge: Judge, pixels: Tensor, wanted: Tensor) -> Tensor:
    """Whether the judge names the wanted concepts: (N,) bool. `wanted` (N, 2), -1 for no second one.

    One concept must be the judge's first answer; two must be its first two, in any order.
    """
    logits = torch.cat([judge(part) for part in pixels.split(64)])
    best = logits.topk(2).indices
    first, second = wanted[:, 0], wanted[:, 1]
    both = ((best == first[:, None]).any(1)) & ((best == second[:, None]).any(1))
    return torch.where(second < 0, best[:, 0] == first, both)


def sharpness(pixels: Tensor) -> float:
    """Mean magnitude of the gradient of the luminance (differences of neighbours)."""
    grey = pixels.mean(1)
    across, down = grey[:, :-1, 1:] - grey[:, :-1, :-1], grey[:, 1:, :-1] - grey[:, :-1, :-1]
    return float((across.square() + down.square()).sqrt().mean())


@torch.no_grad()
def kernel_distance(judge: Judge, some: Tensor, others: Tensor) -> float:
    """KID (Binkowski et al. 2018): unbiased squared MMD with the cubic kernel, on the judge's features."""
    x, y = (torch.cat([judge.features(p) for p in pixels.split(64)]).double() for pixels in (some, others))
    within = [_kernel(z, z) for z in (x, y)]
    means = [(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in within]
    return float(means[0] + means[1] - 2 * _kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def backgrounds(pixels: Tensor) -> Tensor:
    """The number of the named colour that each picture's upper edge is nearest to, (N,)."""
    edge = torch.cat(
        [pixels[:, :, :6].flatten(2), pixels[:, :, :24, :4].flatten(2), pixels[:, :, :24, -4:].flatten(2)], 2
    )
    palette = torch.tensor(list(scenes.COLOURS.values())) / 255
    return torch.cdist(edge.median(2).values, palette).argmin(1)


def enlarged(pixels: Tensor, factor: int = 4) -> Tensor:
    """Bicubic enlargement, clamped."""
    return functional.interpolate(pixels, scale_factor=factor, mode="bicubic").clamp(0, 1)
