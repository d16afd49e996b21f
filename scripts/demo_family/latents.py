"""Latents from principal components, folded exactly into a stock AutoencoderKL's encoder.

Each 4x4 patch of pixels becomes 16 principal components: decorrelated, nearly white, and the best linear code of
that length (Eckart and Young 1936). An untrained net that copies them is as good an encoder as
hours of training, and the UNet can start at once, since only the decoder has to be learned.
"""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

CHANNELS = 16
WIDTHS = (16, 32, 64)
TILT = 0.25  # 0 whitens wholly; 0.5 leaves the fine components half their natural smallness
STEADY = 100.0  # the constant that makes the last GroupNorm linear


@dataclass(frozen=True)
class Code:
    """A linear code of p x p patches: `directions` (K, 3*p*p) orthonormal rows in (channel, row, column) order,
    `mean` (3*p*p,), `deviations` (K,): what each component is divided by.
    """

    directions: Tensor
    mean: Tensor
    deviations: Tensor

    def state(self) -> dict[str, Tensor]:
        """The code as tensors to save."""
        return dict(vars(self))


def patches(signed_pixels: Tensor, size: int) -> Tensor:
    """Cut (N, 3, H, W) into rows (N*H/p*W/p, 3*p*p)."""
    n, c, h, w = signed_pixels.shape
    cut = signed_pixels.reshape(n, c, h // size, size, w // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, c * size * size)


def principal(signed_pixels: Tensor, size: int, count: int) -> Code:
    """The `count` leading principal components of size x size patches."""
    rows = patches(signed_pixels, size).double()
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((rows - mean).T))
    order = values.argsort(descending=True)[:count]
    deviations = values[order].clamp(min=1e-8).sqrt()
    spread = deviations**TILT
    scales = deviations / (spread / spread.square().mean().sqrt())
    return Code(vectors[:, order].T.float().contiguous(), mean.float(), scales.float())


def encode(code: Code, signed_pixels: Tensor) -> Tensor:
    """Latents (N, K, H/p, W/p) of (N, 3, H, W) in [-1, 1]."""
    weight, bias = _affine(code)
    size = round((weight.shape[1] / 3) ** 0.5)
    kernel = weight.view(-1, 3, size, size).to(signed_pixels)
    return nn.functional.conv2d(signed_pixels, kernel, bias.to(signed_pixels), stride=size)


def decode(code: Code, latents: Tensor) -> Tensor:
    """The linear decoding of latents: signed pixels (N, 3, H, W), not clamped."""
    size = round((code.mean.numel() / 3) ** 0.5)
    kernel = (code.directions * code.deviations[:, None]).view(-1, 3, size, size).to(latents)
    offset = code.mean.view(1, 3, size, size).to(latents).repeat(1, 1, *latents.shape[2:])
    return nn.functional.conv_transpose2d(latents, kernel, stride=size) + offset


def _affine(code: Code) -> tuple[Tensor, Tensor]:
    weight = code.directions / code.deviations[:, None]
    return weight, -weight @ code.mean


def autoencoder() -> AutoencoderKL:
    """The family's AutoencoderKL, not yet initialised."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


@torch.no_grad()
def fold(vae: AutoencoderKL, code: Code) -> None:
    """Make `vae.encode(x).latent_dist.mode()` equal `encode(code, x)`.

    The path is 3 colours -> 12 (each 2x2 patch) -> 16 components of the 4x4 patch; residual branches start at
    zero. Before the last GroupNorm every group holds pairs x, -x and the constants A, -A with A >> |x|, so that it
    divides by a constant; and silu(x) - silu(-x) = x undoes the SiLU.
    """
    encoder = vae.encoder
    for block in [*encoder.mid_block.resnets, *(r for b in encoder.down_blocks for r in b.resnets)]:
        _zero(block.conv2)
    first, second = (encoder.down_blocks[i].downsamplers[0].conv for i in range(2))
    middle, last = (encoder.down_blocks[i].resnets[0].conv_shortcut for i in (1, 2))
    for conv in (encoder.conv_in, first, second, middle, last, encoder.conv_out):
        _zero(conv)
    encoder.conv_in.weight[range(3), range(3), 1, 1] = 1
    for channel in range(12):  # (colour, row, column) of the 2x2 patch
        first.weight[channel, channel // 4, channel % 4 // 2, channel % 2] = 1
    middle.weight[range(12), range(12), 0, 0] = 1
    weight, bias = _affine(code)
    nested = weight.view(CHANNELS, 3, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4)  # (k, c, y, x, Y, X)
    second.weight[:CHANNELS, :12, :2, :2] = nested.reshape(CHANNELS, 12, 2, 2)
    second.bias[:CHANNELS] = bias
    _fold_last(vae, last)


def _fold_last(vae: AutoencoderKL, last: nn.Conv2d) -> None:
    encoder = vae.encoder
    plus = [8 * (k // 3) + 2 + 2 * (k % 3) for k in range(CHANNELS)]  # three pairs to a group of eight
    assert last.bias is not None
    for k, channel in enumerate(plus):
        last.weight[channel, k, 0, 0] = 1
        last.weight[channel + 1, k, 0, 0] = -1
        encoder.conv_out.weight[k, channel, 1, 1] = 1
        encoder.conv_out.weight[k, channel + 1, 1, 1] = -1
    last.bias[0::8] = STEADY
    last.bias[1::8] = -STEADY
    encoder.conv_norm_out.weight.fill_(STEADY * (2 / 8) ** 0.5)
    encoder.conv_norm_out.bias.zero_()
    encoder.conv_out.bias[CHANNELS:] = -20.0  # the posterior's log variance: none to speak of
    for conv in (vae.quant_conv, vae.post_quant_conv):
        _zero(conv)
        conv.weight[range(conv.weight.shape[0]), range(conv.weight.shape[0]), 0, 0] = 1


def _zero(conv: nn.Conv2d) -> None:
    conv.weight.zero_()
    assert conv.bias is not None
    conv.bias.zero_()
