"""A second opinion on likeness: DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023) as transformers writes them.

Unlike CLIP it was never told what things are called, so it keeps two jars of jam apart: Ruiz et al. 2022 prefer it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from transformers import AutoConfig, AutoModel

from models.errors import WrongArchitecture
from models.weights.catalog import Weights

KINDS = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoEmbedder:
    """The class token of a vision transformer, in float32."""

    def __init__(self, network: Any, side: int, normal: tuple[list[float], list[float]], device: torch.device) -> None:
        self.network, self.side, self.device = network.to(device).eval().requires_grad_(False), side, device
        self.mean, self.std = normal

    @classmethod
    def load(cls, weights: Weights, device: torch.device) -> DinoEmbedder:
        """Read a transformers folder, its safetensors alone. Raises WrongArchitecture."""
        name = weights.path.name
        try:
            config = AutoConfig.from_pretrained(weights.path, local_files_only=True, trust_remote_code=False)
            if config.model_type not in KINDS:
                raise _misfit(name, f"it is a {config.model_type}, none of {', '.join(KINDS)}")
            network, found = AutoModel.from_pretrained(
                weights.path,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _misfit(name, (str(error).strip().splitlines() or ["unreadable"])[0][:200]) from error
        # The pooler is not used, and checkpoints of DINO have none.
        missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise _misfit(name, f"it has no {missing[0]}")
        stated = _preprocessing(weights.path)
        side = stated.get("crop_size", {}).get("height", config.image_size)
        normal = list(stated.get("image_mean", MEAN)), list(stated.get("image_std", STD))
        return cls(network.float(), int(side), normal, device)

    @torch.inference_mode()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Return unit rows (N,D) of square pixels (N,3,S,S) in [0,1], each taken whole rather than cropped."""
        sized = transforms.resize(pixels.to(self.device).float(), [self.side] * 2, antialias=True).clamp(0, 1)
        states = self.network(pixel_values=transforms.normalize(sized, self.mean, self.std)).last_hidden_state
        return torch.nn.functional.normalize(states[:, 0], dim=-1)


def _preprocessing(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def _misfit(name: str, detail: str) -> WrongArchitecture:
    return WrongArchitecture(path=name, architecture="DINO", detail=detail)
