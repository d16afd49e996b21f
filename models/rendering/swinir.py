"""A faster SwinIR (Liang et al. 2021): the weights and the output of basicsr's class, in less time and memory.

basicsr builds an attention mask on the CPU in every block (64 MiB at 512 px, 36 times in the M model). A shifted block
has only four kinds of windows (inside, right edge, bottom edge, corner), so this module needs no mask of the picture's
size. Each kind takes one fused attention call, with position bias and mask in one addend. Heads are zero-padded to a
width that the fused kernels accept, and keep the scale of their original width.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.functional import rgb_to_grayscale

from models.errors import WrongArchitecture
from models.weights.checkpoints import StateDict, fill, init_empty_weights
from models.weights.library_boundary import architecture_boundary

HEAD_MULTIPLE = 8


def swinir_class() -> type[nn.Module]:
    """Return basicsr's SwinIR class.

    basicsr 1.4.2 imports a module that torchvision 0.17 removed; this function provides it.
    """
    name = "torchvision.transforms.functional_tensor"
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[name] = module
    with warnings.catch_warnings(action="ignore"):  # basicsr is no longer maintained
        from basicsr.archs.swinir_arch import SwinIR

    return SwinIR  # type: ignore[no-any-return]


def load(state: StateDict, path: str) -> nn.Module:
    """Return the fast network in eval mode, with the architecture that keys and shapes of `state` show.

    It maps pixels (N,3,H,W) in [0,1], with H and W multiples of `window_size`, to (N,3,sH,sW), not clamped.
    Raises WrongArchitecture.
    """
    with architecture_boundary(path, "SwinIR"):
        model = meta_network(read_architecture(state, path))
    own = {key: value for key, value in state.items() if not key.endswith(("attn_mask", "relative_position_index"))}
    fill(model, own | dict(model.named_buffers()), path)
    with architecture_boundary(path, "SwinIR"):
        return use_fast_blocks(model.eval())


def meta_network(architecture: dict[str, Any]) -> nn.Module:
    """Return basicsr's SwinIR on the meta device, without weights.

    basicsr builds the real-world network for a scale of 4 only. The official one for a scale of 2 lacks its last step.
    """
    doubles = architecture["upsampler"] == "nearest+conv" and architecture["upscale"] == 2
    with warnings.catch_warnings(action="ignore"), init_empty_weights(include_buffers=False):
        model: Any = swinir_class()(**architecture | ({"upscale": 4} if doubles else {}))
    if doubles:
        del model.conv_up2
        model.upscale, model.forward = 2, types.MethodType(_forward_double, model)
    model.window_size = architecture["window_size"]
    return model  # type: ignore[no-any-return]


def _forward_double(self: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return the output of the official real-world network with a scale of 2."""
    mean = self.mean.type_as(pixels)
    features = self.conv_first((pixels - mean) * self.img_range)
    features = self.conv_before_upsample(self.conv_after_body(self.forward_features(features)) + features)
    features = self.lrelu(self.conv_up1(functional.interpolate(features, scale_factor=2, mode="nearest")))
    enlarged: torch.Tensor = self.conv_last(self.lrelu(self.conv_hr(features))) / self.img_range + mean
    return enlarged


def read_architecture(state: StateDict, path: str) -> dict[str, Any]:
    """Return basicsr's constructor arguments, from names and shapes. Raises WrongArchitecture, KeyError."""
    block = "layers.0.residual_group.blocks.0"
    embed_dim, in_chans = state["conv_first.weight"].shape[:2]
    bias_table = state[f"{block}.attn.relative_position_bias_table"]
    mlp_ratio = state[f"{block}.mlp.fc1.weight"].shape[0] / embed_dim
    window_size = (round(bias_table.shape[0] ** 0.5) + 1) // 2
    upsampler, upscale = _read_upsampler(state, path)
    if "absolute_pos_embed" in state or in_chans != 3:
        raise WrongArchitecture(path=path, architecture="SwinIR", detail="it is not one of the published RGB models")
    return {
        # Twice the window makes basicsr's own (unused) masks smallest; an equal size would turn shifting off.
        "img_size": 2 * window_size,
        "window_size": window_size,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": _read_depths(state),
        "num_heads": _read_heads(state),
        "mlp_ratio": mlp_ratio,
        "qkv_bias": f"{block}.attn.qkv.bias" in state,
        "patch_norm": "patch_embed.norm.weight" in state,
        "upscale": upscale,
        "upsampler": upsampler,
        "resi_connection": "1conv" if "conv_after_body.weight" in state else "3conv",
    }


def use_fast_blocks(model: nn.Module) -> nn.Module:
    """Replace each transformer block of basicsr's SwinIR with a fast Block that has the same output."""
    for layer in cast("nn.ModuleList", model.layers):
        group: Any = layer.residual_group
        group.blocks = nn.ModuleList(Block(block) for block in group.blocks)
    return model


class Block(nn.Module):
    """A Swin transformer block with the weights of a block of basicsr."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        attention = block.attn
        width = block.dim // block.num_heads
        self.window, self.shift, self.heads = block.window_size, block.shift_size, block.num_heads
        self.scale = float(attention.scale)
        self.padded = -(-width // HEAD_MULTIPLE) * HEAD_MULTIPLE
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.qkv = _pad_rows(attention.qkv, 3 * self.heads, width, self.padded)
        self.proj = _pad_columns(attention.proj, self.heads, width, self.padded)
        area = self.window**2
        bias = attention.relative_position_bias_table[attention.relative_position_index.view(-1)]
        bias = bias.detach().view(area, area, self.heads).permute(2, 0, 1)
        masks = _masks(self.window, self.shift).to(bias.device) if self.shift else torch.zeros(1, area, area)
        self.register_buffer("addends", (bias[None] + masks[:, None].to(bias)).contiguous(), persistent=False)

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the output tokens (B,H*W,C) for tokens (B,H*W,C); size: (H, W)."""
        picture = self.norm1(tokens).unflatten(1, size)
        if self.shift:
            picture = picture.roll((-self.shift, -self.shift), dims=(1, 2))
        picture = self._attend_in_windows(picture)
        if self.shift:
            picture = picture.roll((self.shift, self.shift), dims=(1, 2))
        tokens = tokens + picture.flatten(1, 2)
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]

    def _attend_in_windows(self, picture: torch.Tensor) -> torch.Tensor:
        batch, height, width, _ = picture.shape
        side = self.window
        rows, columns = height // side, width // side
        qkv = self.qkv(picture).view(batch, rows, side, columns, side, 3, self.heads, self.padded)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6)  # 3, batch, rows, columns, heads, area, width
        if not self.shift:
            mixed = self._attend(qkv, 0)
        else:
            mixed = qkv.new_empty(qkv.shape[1:])
            for kind, (r, c) in enumerate(_KINDS):
                if qkv[:, :, r, c].numel():
                    mixed[:, r, c] = self._attend(qkv[:, :, r, c], kind)
        mixed = mixed.unflatten(4, (side, side)).permute(0, 1, 4, 2, 5, 3, 6)
        return self.proj(mixed.reshape(batch, height, width, -1))  # type: ignore[no-any-return]

    def _attend(self, qkv: torch.Tensor, kind: int) -> torch.Tensor:
        shape = qkv.shape[1:]
        query, key, value = qkv.flatten(1, 3)
        addend = cast("torch.Tensor", self.addends)[kind : kind + 1].expand(len(query), -1, -1, -1)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=addend, scale=self.scale)
        return mixed.view(shape)


_INSIDE, _EDGE = slice(None, -1), slice(-1, None)
_KINDS = ((_INSIDE, _INSIDE), (_INSIDE, _EDGE), (_EDGE, _INSIDE), (_EDGE, _EDGE))


def _masks(side: int, shift: int) -> torch.Tensor:
    """Return (4, side^2, side^2): -100 between pixels that are neighbours only because of the shift."""
    wrapped = (torch.arange(side) >= side - shift).int()
    right, bottom = wrapped.repeat(side), wrapped.repeat_interleave(side)
    regions = torch.stack([torch.zeros_like(right), right, bottom, right + 2 * bottom])
    return (regions[:, :, None] != regions[:, None, :]).float() * -100.0


def _pad_rows(linear: nn.Linear, groups: int, width: int, padded: int) -> nn.Linear:
    weight = functional.pad(linear.weight.detach().unflatten(0, (groups, width)), (0, 0, 0, padded - width)).flatten(
        0, 1
    )
    bias: torch.Tensor | None = linear.bias
    if bias is not None:
        bias = functional.pad(bias.detach().view(groups, width), (0, padded - width)).flatten()
    return _linear(weight, bias)


def _pad_columns(linear: nn.Linear, groups: int, width: int, padded: int) -> nn.Linear:
    weight = functional.pad(linear.weight.detach().unflatten(1, (groups, width)), (0, padded - width)).flatten(1, 2)
    return _linear(weight, linear.bias.detach())


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return linear


def _read_depths(state: StateDict) -> list[int]:
    depths: dict[int, int] = {}
    for key in state:
        match key.split("."):
            case ["layers", layer, "residual_group", "blocks", block, *_]:
                depths[int(layer)] = max(depths.get(int(layer), 0), int(block) + 1)
    return [depths[layer] for layer in sorted(depths)]


def _read_heads(state: StateDict) -> list[int]:
    tables = "layers.{}.residual_group.blocks.0.attn.relative_position_bias_table"
    return [state[tables.format(layer)].shape[1] for layer in range(len(_read_depths(state)))]


def _read_upsampler(state: StateDict, path: str) -> tuple[str, int]:
    """Return basicsr's name of the upsampler and the scale: classical, real-world or lightweight."""
    if "conv_up1.weight" in state:
        return "nearest+conv", 4 if "conv_up2.weight" in state else 2
    if "conv_before_upsample.0.weight" in state:
        steps = [value.shape[0] // value.shape[1] for key, value in state.items() if _is_upsample_weight(key)]
        return "pixelshuffle", round(torch.tensor(steps).prod().sqrt().item())
    if "upsample.0.weight" in state:
        return "pixelshuffledirect", round((state["upsample.0.weight"].shape[0] / 3) ** 0.5)
    raise WrongArchitecture(path=path, architecture="SwinIR", detail="it does not enlarge (a denoising model)")


def _is_upsample_weight(key: str) -> bool:
    return key.startswith("upsample.") and key.endswith(".weight")
