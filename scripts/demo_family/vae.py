"""Stage `vae`: principal components as the encoder, and a decoder trained to undo them."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torchvision.utils import save_image

from . import checkpoints, latents, material
from .training import Budget, Recipe, Run, averaged, train

RECIPE = Recipe(rate=2e-3, decay=0.0, ema=0.998, warmup=50, cooldown=0.5)
CROP = 8  # latent cells on a side of a training crop


def code(work: Path) -> latents.Code:
    """The patch code (4x4 pixels to 16), measured once on composites and kept in the work folder."""
    path = work / "code.pt"
    if not path.exists():
        sample = material.compose(material.load(work), 2048, seed=1)[0] * 2 - 1
        checkpoints.save(latents.principal(sample, 4, latents.CHANNELS).state(), path)
    return latents.Code(**torch.load(path, weights_only=True))


class Decoder(nn.Module):
    """The trained half of an AutoencoderKL."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = latents.autoencoder()
        for part in (self.vae.encoder, self.vae.quant_conv, self.vae.post_quant_conv):
            part.requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        """Signed pixels (N, 3, 4H, 4W) of latents (N, 16, H, W)."""
        pixels: Tensor = self.vae.decode(z).sample
        return pixels


def fit(work: Path, budget: Budget, device: torch.device, batch: int = 32) -> AutoencoderKL:
    """Train the decoder on composites and crops of them; returns the whole autoencoder."""
    art, coarse = material.load(work), code(work)
    torch.manual_seed(RECIPE.seed)
    model = Decoder()
    latents.fold(model.vae, coarse)
    model.to(device).to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        whole = step % 4 == 3
        pixels, _ = material.compose(art, batch // 4 if whole else batch, RECIPE.seed + step)
        target = pixels.to(device) * 2 - 1
        if not whole:
            target = _crop(target)
        z = latents.encode(coarse, target)
        z = z + 0.03 * torch.randn_like(z)
        error = model(z.contiguous(memory_format=torch.channels_last)) - target
        total: Tensor = error.square().mean() + 0.1 * error.abs().mean()
        return total

    def sheet(current: nn.Module, path: Path) -> None:
        pixels = material.held_out(art, 8)[0].to(device)
        with torch.no_grad():
            redrawn = current(latents.encode(coarse, pixels * 2 - 1)) / 2 + 0.5
        save_image(torch.cat([pixels, redrawn.clamp(0, 1)]), path, nrow=8)

    train(model, loss, Run(work / "vae", device, sheet), budget, RECIPE)
    return model.vae


def trained(work: Path, device: torch.device) -> AutoencoderKL:
    """The autoencoder as the last checkpoint has it."""
    model = averaged(Decoder(), work / "vae", device)
    assert isinstance(model, Decoder)
    return model.vae


def _crop(pixels: Tensor) -> Tensor:
    """A random crop of 8 x 8 cells, aligned to the patches."""
    top, left = (int(torch.randint(0, 16 - CROP + 1, ())) * 4 for _ in range(2))
    return pixels[:, :, top : top + 4 * CROP, left : left + 4 * CROP]
