"""Stage `swinir`: super-resolution x4 of the family's own pictures, started from bicubic interpolation."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.rendering.swinir import swinir_class

from . import composites, latents, material, scenes, vae
from .training import Budget, Recipe, Run, averaged, train

RECIPE = Recipe(rate=1e-3, decay=0.0, ema=0.99, warmup=30, cooldown=0.6)
ARCHITECTURE: dict[str, Any] = {
    "upscale": 4,
    "img_size": 64,
    "window_size": 8,
    "img_range": 1.0,
    "depths": [2, 2],
    "embed_dim": 32,
    "num_heads": [4, 4],
    "mlp_ratio": 2,
    "upsampler": "pixelshuffledirect",
    "resi_connection": "1conv",
}
LARGE, CROP = 256, 24  # side of the sharp pictures; side of a small training crop


def build() -> nn.Module:
    """Return SwinIR (basicsr's), initialised so that it is bicubic interpolation before its first step."""
    model = swinir_class()(**ARCHITECTURE)
    start_bicubic(model)
    return model


@torch.no_grad()
def start_bicubic(model: Any) -> None:
    """Nine channels a colour carry the 3x3 neighbours; the upsampling convolution weighs the 5x5 around them.

    The body's last convolution starts at zero, so that the transformer only adds to the interpolation.
    """
    for conv in (model.conv_first, model.conv_after_body, model.upsample[0]):
        conv.bias.zero_()
    model.conv_after_body.weight.zero_()
    model.conv_first.weight[:27].zero_()
    for tap in range(9):
        for colour in range(3):
            model.conv_first.weight[3 * tap + colour, colour, tap // 3, tap % 3] = 1
    kernels = _bicubic_phases()
    weight = model.upsample[0].weight.zero_()
    for phase in range(16):
        for row in range(5):
            for column in range(5):
                centre_row, centre_column = min(max(row - 1, 0), 2), min(max(column - 1, 0), 2)
                tap = 3 * (row - centre_row) + column - centre_column
                for colour in range(3):
                    amount = kernels[phase, row, column]
                    weight[16 * colour + phase, 3 * tap + colour, centre_row, centre_column] += amount


def _bicubic_phases() -> Tensor:
    """The weights (16, 5, 5) of bicubic x4 interpolation for each of the 4 x 4 output phases."""
    impulse = torch.zeros(25, 1, 11, 11, dtype=torch.double)
    for i in range(25):
        impulse[i, 0, 3 + i // 5, 3 + i % 5] = 1
    large = functional.interpolate(impulse, scale_factor=4, mode="bicubic")
    return large[:, 0, 20:24, 20:24].reshape(5, 5, 16).permute(2, 0, 1).float()


def sharp(art: material.Art, count: int, seed: int) -> Tensor:
    """`count` sharp composites (count, 3, 256, 256) in [0, 1]."""
    drawn = scenes.draw(art.shelf, count, torch.Generator().manual_seed(seed))
    return composites.render(drawn, art.sprites, LARGE)


def shrink(large: Tensor) -> Tensor:
    """The native picture of a sharp one: the mean of each 4 x 4 square, as composites are seen."""
    return functional.avg_pool2d(large, 4)


def fit(work: Path, budget: Budget, device: torch.device, batch: int = 6) -> nn.Module:
    """Train on clean small pictures and on pictures that went through the autoencoder."""
    art, decoder, code = material.load(work), vae.trained(work, device), vae.code(work)
    torch.manual_seed(RECIPE.seed)
    model = build().to(device)

    def loss(step: int) -> Tensor:
        target = sharp(art, batch, RECIPE.seed + step).to(device)
        small = shrink(target)
        if step % 2:
            with torch.no_grad():
                z = latents.encode(code, small * 2 - 1)
                small = (decoder.decode(z + 0.05 * torch.randn_like(z)).sample / 2 + 0.5).clamp(0, 1)
        top, left = torch.randint(0, 64 - CROP + 1, (2,)).tolist()
        small = small[:, :, top : top + CROP, left : left + CROP]
        target = target[:, :, 4 * top : 4 * (top + CROP), 4 * left : 4 * (left + CROP)]
        error = model(small) - target
        charbonnier: Tensor = (error.square() + 1e-6).sqrt().mean()  # as in the paper
        return charbonnier

    train(model, loss, Run(work / "swinir", device), budget, RECIPE)
    return model


def trained(work: Path, device: torch.device) -> nn.Module:
    """The network as the last checkpoint has it."""
    return averaged(swinir_class()(**ARCHITECTURE), work / "swinir", device)
