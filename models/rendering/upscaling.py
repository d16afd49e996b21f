"""Enlarge pictures of any size with SwinIR; a large picture is cut into overlapping tiles."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch.nn import functional

from models.precision import ReducedPrecision, dtype_name, non_finite
from models.rendering import swinir
from models.stages import StepCallback, ignore_steps
from models.weights.catalog import Weights
from models.weights.checkpoints import read

log = logging.getLogger(__name__)


class SwinirUpscaler:
    """An Upscaler over a SwinIR network. It pads to the network's window, cuts large pictures into tiles, and clamps.

    tile: side in pixels above which the picture is cut, 0 for never. overlap: pixels that neighbouring tiles share.
    dtype: the precision; a network that overflows in it works in float32 from then on.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        scale: int,
        tile: int = 512,
        overlap: int = 32,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self._precision = ReducedPrecision(network, dtype)
        self.scale = scale
        self.window: int = network.window_size  # type: ignore[assignment]
        self.tile = -(-tile // self.window) * self.window
        self.overlap = min(-(-overlap // self.window) * self.window, self.tile - self.window)

    @classmethod
    def load(
        cls, weights: Weights, device: torch.device, dtype: torch.dtype, tile: int = 512, overlap: int = 32
    ) -> SwinirUpscaler:
        """Load an official SwinIR file (params_ema, params, bare), or a folder with one. Raises a WeightsError."""
        path = weights.file()
        network = swinir.load(read(path, "upscaling"), path.name)
        scale: int = network.upscale  # type: ignore[assignment]
        network = network.to(device=device, dtype=torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network.requires_grad_(requires_grad=False), scale, tile, overlap, dtype)

    @torch.inference_mode()
    def upscale(self, pixels: torch.Tensor, report: StepCallback = ignore_steps) -> torch.Tensor:
        """Return float32 pixels (1,3,sH,sW) in [0,1] of pixels (1,3,H,W) in [0,1].

        s: the network's scale. Tiles cross-fade over their overlap, so no seam shows. report: counts tiles.
        Raises NonFiniteOutput.
        """
        height, width = pixels.shape[-2:]
        padded = self._pad(pixels)
        boxes = list(self._boxes(*padded.shape[-2:]))
        if len(boxes) == 1:
            large = self._forward(padded)
            report(1, 1)
        else:
            large = self._blend(padded, boxes, report)
        return large[..., : height * self.scale, : width * self.scale].clamp(0, 1)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network now."""
        return next(self.network.parameters()).dtype

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = next(self.network.parameters())
        enlarged: torch.Tensor = self.network(pixels.to(device=weight.device, dtype=weight.dtype)).float()
        if enlarged.isfinite().all():
            return enlarged
        if not self._precision.is_reduced:
            raise non_finite("SwinIR network", weight.dtype)
        log.warning("SwinIR overflows in %s: it works in float32 from now on.", dtype_name(weight.dtype))
        self._precision.restore_float32()
        return self._forward(pixels)

    def _pad(self, pixels: torch.Tensor) -> torch.Tensor:
        """Reflect the picture to the right and below, up to the next multiple of the window, as spandrel does."""
        height, width = pixels.shape[-2:]
        right, below = -width % self.window, -height % self.window
        mode = "reflect" if right < width and below < height else "replicate"
        return functional.pad(pixels, (0, right, 0, below), mode)

    def _boxes(self, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
        for top, bottom in self._spans(height):
            for left, right in self._spans(width):
                yield top, bottom, left, right

    def _spans(self, length: int) -> list[tuple[int, int]]:
        """Return (start, end) of each tile along one side, on window borders; the last tile ends with the picture."""
        if not self.tile or length <= self.tile:
            return [(0, length)]
        step = self.tile - self.overlap
        starts = [*range(0, length - self.tile, step), length - self.tile]
        return [(start, start + self.tile) for start in starts]

    def _blend(
        self, pixels: torch.Tensor, boxes: list[tuple[int, int, int, int]], report: StepCallback
    ) -> torch.Tensor:
        height, width = (side * self.scale for side in pixels.shape[-2:])
        total = pixels.new_zeros(1, 3, height, width, dtype=torch.float32)
        weights = total.new_zeros(1, 1, height, width)
        for done, (top, bottom, left, right) in enumerate(boxes, start=1):
            enlarged = self._forward(pixels[..., top:bottom, left:right])
            fade = self._fade(top, bottom, pixels.shape[-2])[:, None] * self._fade(left, right, pixels.shape[-1])
            fade = fade.to(total)
            place = (..., slice(top * self.scale, bottom * self.scale), slice(left * self.scale, right * self.scale))
            total[place] += enlarged * fade
            weights[place] += fade
            report(done, len(boxes))
        return total / weights

    def _fade(self, start: int, end: int, length: int) -> torch.Tensor:
        """Return the tile's weights along one side: rising over an overlap with a neighbour, one elsewhere.

        The outer quarter of an overlap has weight zero, because there the convolutions read padding, not the picture.
        """
        ramp = torch.ones((end - start) * self.scale)
        fade, margin = self.overlap * self.scale, self.overlap * self.scale // 4
        rising = ((torch.arange(fade) + 0.5 - margin) / max(fade - 2 * margin, 1)).clamp(0, 1)
        if start > 0:
            ramp[:fade] = rising
        if end < length:
            ramp[len(ramp) - fade :] *= rising.flip(0)
        return ramp
