"""DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023): a second measure of how alike two pictures are.

Self-supervised features separate two products of one class better than CLIP's features, which follow captions.
Ruiz et al. 2022 (section 4.1) prefer DINO for that reason.
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
from models.weights.remote_code import forbid_questions

MODEL_TYPES = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoEmbedder:
    """The class token of a vision transformer, in float32. normalization: mean and standard deviation per channel."""

    def __init__(
        self, network: Any, side: int, normalization: tuple[list[float], list[float]], device: torch.device
    ) -> None:
        self.network, self.side, self.device = network.to(device).eval().requires_grad_(False), side, device
        self.mean, self.std = normalization

    @classmethod
    def load(cls, weights: Weights, device: torch.device) -> DinoEmbedder:
        """Load the safetensors weights of a transformers folder. Raises WrongArchitecture."""
        forbid_questions()
        name = weights.path.name
        try:
            config = AutoConfig.from_pretrained(weights.path, local_files_only=True, trust_remote_code=False)
            if config.model_type not in MODEL_TYPES:
                raise _wrong_architecture(name, f"it is a {config.model_type}, not one of {', '.join(MODEL_TYPES)}")
            network, loading = AutoModel.from_pretrained(
                weights.path,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _wrong_architecture(name, (str(error).strip().splitlines() or ["unreadable"])[0][:200]) from error
        # DINO checkpoints have no pooler, and this embedder does not use it.
        missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise _wrong_architecture(name, f"it has no {missing[0]}")
        preprocessor = _preprocessor_config(weights.path)
        side = preprocessor.get("crop_size", {}).get("height", config.image_size)
        normalization = list(preprocessor.get("image_mean", MEAN)), list(preprocessor.get("image_std", STD))
        return cls(network.float(), int(side), normalization, device)

    @torch.inference_mode()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Return unit rows (N,D) of square pixels (N,3,S,S) in [0,1], which are resized but not cropped."""
        resized = transforms.resize(pixels.to(self.device).float(), [self.side] * 2, antialias=True).clamp(0, 1)
        states = self.network(pixel_values=transforms.normalize(resized, self.mean, self.std)).last_hidden_state
        return torch.nn.functional.normalize(states[:, 0], dim=-1)


def _preprocessor_config(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def _wrong_architecture(name: str, detail: str) -> WrongArchitecture:
    return WrongArchitecture(path=name, architecture="DINO", detail=detail)
