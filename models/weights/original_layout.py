"""The layout of the original Stable Diffusion repository: a fine-tuned UNet and text encoder in one file.

Stock diffusers (`from_single_file`) and most other programs read both from such a file, and take the other parts from
a base model. The text encoder has SD 1.x's names, for SD 2.x too; diffusers distinguishes the two by the keys.
"""

from __future__ import annotations

import re
from typing import Any

from diffusers.loaders import single_file_utils as layout
from torch import Tensor, nn

from models.errors import WrongArchitecture
from models.weights.checkpoints import StateDict

UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer.text_model."
_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(
    r"(?P<side>down_blocks|mid_block|up_blocks)\.((?P<level>\d+)\.)?"
    r"(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)


def original_state(unet: Any, text_encoder: nn.Module) -> dict[str, Tensor]:
    """Return both networks' tensors under the original names. Raises WrongArchitecture if it is not SD 1.x or 2.x."""
    state = {f"{UNET}{_original_name(name, unet)}": value for name, value in unet.state_dict().items()}
    words = text_encoder.state_dict()
    return state | {f"{TEXT}{name.removeprefix('text_model.')}": value for name, value in words.items()}


def split_original(state: StateDict, unet: Any, text_encoder: nn.Module) -> tuple[StateDict, StateDict]:
    """Return the UNet's and the text encoder's state, under the networks' own names.

    Raises WrongArchitecture if the state is of another family than these networks.
    """
    try:
        own = layout.convert_ldm_unet_checkpoint(state, unet.config)
    except KeyError as error:
        detail = f"it has no {error.args[0]}"
        raise WrongArchitecture(path="concept", architecture=type(unet).__name__, detail=detail) from error
    names = text_encoder.state_dict()
    text = {name: state.get(TEXT + name.removeprefix("text_model.")) for name in names}
    return own, {name: value for name, value in text.items() if value is not None}


def is_original(state: StateDict) -> bool:
    """Return whether a state is in the original layout."""
    return any(name.startswith(UNET) for name in state)


def _original_name(name: str, unet: Any) -> str:
    """Return the original name of a UNet's tensor: the reverse of diffusers' conversion."""
    outer, _, kind = name.rpartition(".")
    if outer in _OUTER:
        return f"{_OUTER[outer]}.{kind}"
    found = _BLOCK.fullmatch(name)
    if found is None:
        raise WrongArchitecture(path="UNet", architecture="the original layout", detail=f"it has {name}")
    inner, _, kind = found["rest"].rpartition(".")
    inner = {"resnets": _RESNET, "downsamplers": {"conv": "op"}}.get(found["kind"], {}).get(inner, inner)
    return f"{_block_name(found, unet)}.{inner}.{kind}"


def _block_name(found: re.Match[str], unet: Any) -> str:
    """Return the original name of a block. Blocks are numbered across all levels, including samplers."""
    layer, part = int(found["layer"]), 1 if found["kind"] == "attentions" else 0
    per_level = unet.config.layers_per_block + 1
    if found["side"] == "mid_block":
        return f"middle_block.{2 * layer + part}"
    first = int(found["level"]) * per_level
    match found["kind"]:
        case "downsamplers":
            return f"input_blocks.{first + per_level}.0"
        case "upsamplers":
            attends = hasattr(unet.up_blocks[int(found["level"])], "attentions")
            return f"output_blocks.{first + per_level - 1}.{2 if attends else 1}"
    if found["side"] == "down_blocks":
        return f"input_blocks.{first + layer + 1}.{part}"
    return f"output_blocks.{first + layer}.{part}"
