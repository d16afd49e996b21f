"""CLIP scores of candidates, with any architecture of open_clip (Radford et al. 2021).

The score is the cosine of picture and prompt: the CLIP score of Hessel et al. 2021 before its scaling by 2.5.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import open_clip
import torch
from open_clip.convert import convert_state_dict
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from models.errors import WeightsNotFound, WrongArchitecture
from models.precision import non_finite
from models.weights.catalog import Weights
from models.weights.checkpoints import fill, init_empty_weights, read
from models.weights.library_boundary import architecture_boundary
from models.weights.remote_code import forbid_questions

_CONFIG = "open_clip_config.json"
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


class Tokenizer(Protocol):
    """A tokenizer of open_clip: turns texts into token ids (N, context)."""

    def __call__(self, texts: list[str]) -> torch.Tensor: ...


class ClipReranker:
    """A Reranker that preprocesses and scores all pictures in one call, on the device."""

    def __init__(self, model: torch.nn.Module, tokenizer: Tokenizer, device: torch.device) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.preprocessing: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)

    @classmethod
    def load(cls, weights: Weights, device: torch.device, dtype: torch.dtype) -> ClipReranker:
        """Load an open_clip folder, or a weight file of a named architecture. Raises a WeightsError."""
        forbid_questions()
        name, path = _name_and_file(weights)
        with _hub_parts(name, "hf_model_name"), architecture_boundary(weights.path.name, "open_clip"):
            model = meta_network(name)
        with _hub_parts(name, "hf_tokenizer_name"), architecture_boundary(weights.path.name, "open_clip's tokenizer"):
            tokenizer = open_clip.get_tokenizer(name, **_tokenizer_options(name))
        state = read(path, "reranking")
        with architecture_boundary(path.name, "open_clip"):
            state = convert_state_dict(model, _reshape_logit_parameters(model, state))
        fill(model, state, path.name)
        model = model.eval().requires_grad_(requires_grad=False)
        return cls(model.to(device=device, dtype=dtype), tokenizer, device)

    @torch.inference_mode()
    def score(self, pixels: torch.Tensor, prompt: str) -> list[dict[str, float]]:
        """Return the scores of each picture of pixels (N,3,H,W) in [0,1]: `clip` (cosine), `clip_logit` (scaled).

        Raises NonFiniteOutput if no score is a finite number.
        """
        cosines = (self.embed_images(pixels) @ self.embed_texts([prompt]).T)[:, 0].float().cpu()
        if not cosines.isfinite().any():
            raise non_finite("CLIP network", next(self.model.parameters()).dtype)
        bias = getattr(self.model, "logit_bias", None)
        logits = cosines * self.model.logit_scale.exp().float().cpu()  # type: ignore[operator]
        logits = logits if bias is None else logits + bias.float().cpu()
        return [
            {"clip": round(cosine, 6), "clip_logit": round(logit, 4)}
            for cosine, logit in zip(cosines.tolist(), logits.flatten().tolist(), strict=True)
        ]

    @torch.inference_mode()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return unit rows (N,D), float32, of pixels (N,3,H,W) in [0,1]."""
        dtype = next(self.model.parameters()).dtype
        prepared = self._preprocess(pixels.to(self.device)).to(dtype)
        rows: torch.Tensor = self.model.encode_image(prepared)  # type: ignore[operator]
        return torch.nn.functional.normalize(rows.float(), dim=-1)

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Return unit rows (N,D), float32, of texts; a text longer than the model's context is truncated."""
        rows: torch.Tensor = self.model.encode_text(self.tokenizer(texts).to(self.device))  # type: ignore[operator]
        return torch.nn.functional.normalize(rows.float(), dim=-1)

    def _preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resize, crop and normalize as open_clip's own PIL transform does, for all pictures in one call."""
        cfg = self.preprocessing
        side = cfg["size"]
        size: tuple[int, int] = (side, side) if isinstance(side, int) else (side[0], side[1])
        mode = InterpolationMode(cfg["interpolation"] if cfg["interpolation"] != "random" else "bicubic")
        if cfg["resize_mode"] == "squash":
            pixels = transforms.resize(pixels, list(size), mode, antialias=True)
        elif cfg["resize_mode"] == "longest":
            pixels = _fit(pixels, size, mode, cfg["fill_color"])
        else:
            pixels = transforms.resize(pixels, [min(size)], mode, antialias=True)
            pixels = transforms.center_crop(pixels, list(size))
        normal: torch.Tensor = transforms.normalize(pixels.clamp(0, 1), list(cfg["mean"]), list(cfg["std"]))
        return normal


def _tokenizer_options(name: str) -> dict[str, bool]:
    """Return the options that override a folder's own. Only tokenizers of transformers take this one."""
    if name.startswith("local-dir:"):
        config = json.loads((Path(name.removeprefix("local-dir:")) / _CONFIG).read_text(encoding="utf-8"))
        text = config.get("model_cfg", {}).get("text_cfg", {})
    else:
        text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}


def meta_network(name: str) -> torch.nn.Module:
    """Return the network of an architecture (`ViT-H-14`, `local-dir:...`) on the meta device, without weights."""
    with init_empty_weights(include_buffers=False):
        return open_clip.create_model(name, load_weights=False, pretrained_text=False, device=None)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _hub_parts(name: str, key: str) -> Iterator[None]:
    """Raise WeightsNotFound instead of WrongArchitecture if the block failed because the hub cannot be reached.

    Some architectures (SigLIP, multilingual CLIP) load their tokenizer or their text tower's configuration from it.
    """
    try:
        yield
    except WrongArchitecture as error:
        config = {} if name.startswith("local-dir:") else open_clip.get_model_config(name) or {}
        repository = config.get("text_cfg", {}).get(key)
        if repository is None or not isinstance(error.__cause__, OSError):
            raise
        what = "tokenizer" if key == "hf_tokenizer_name" else "text model's configuration"
        hint = (
            f"its {what} is {repository} on the hub, which is not in the local cache and cannot be fetched; "
            "download it on a machine with a network, or use local-dir: and a folder that holds it."
        )
        raise WeightsNotFound(role="reranking", reference=name, hint=hint) from error


def _name_and_file(weights: Weights) -> tuple[str, Path]:
    if not weights.path.is_dir():
        if weights.architecture is None:
            hint = "name the architecture before the file, such as ViT-H-14:/path/to/open_clip_model.safetensors."
            raise WeightsNotFound(role="reranking", reference=weights.path.name, hint=hint)
        if open_clip.get_model_config(weights.architecture) is None:
            near = difflib.get_close_matches(weights.architecture, open_clip.list_models(), 3, cutoff=0.4)
            hint = f"open_clip has no architecture of this name; similar names: {', '.join(near) or 'none'}."
            raise WeightsNotFound(role="reranking", reference=weights.architecture, hint=hint)
        return weights.architecture, weights.path
    found = [weights.path / name for name in _FILES if (weights.path / name).is_file()]
    if not found or not (weights.path / "open_clip_config.json").is_file():
        hint = "an open_clip folder holds open_clip_config.json and open_clip_model.safetensors."
        raise WeightsNotFound(role="reranking", reference=weights.path.name, hint=hint)
    return f"local-dir:{weights.path}", found[0]


def _reshape_logit_parameters(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with the logits' scale and bias in the model's shape; releases differ (scalar or vector)."""
    own = dict(model.named_parameters())
    single = ("logit_scale", "logit_bias")
    return {
        key: value.reshape(own[key].shape) if key in single and key in own else value for key, value in state.items()
    }


def _fit(pixels: torch.Tensor, size: tuple[int, int], mode: InterpolationMode, fill_color: int) -> torch.Tensor:
    scale = min(size[0] / pixels.shape[-2], size[1] / pixels.shape[-1])
    inner = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
    resized = transforms.resize(pixels, inner, mode, antialias=True)
    below, right = size[0] - inner[0], size[1] - inner[1]
    edges = [right // 2, below // 2, right - right // 2, below - below // 2]
    padded: torch.Tensor = transforms.pad(resized, edges, fill=fill_color / 255)
    return padded
