"""From checkpoints to `models/demo/`: stock layouts, half precision, safetensors, one card with every hash."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from . import clip, concepts, swinir, text, tokens, unet, vae, vocabulary

CPU = torch.device("cpu")
CARD = {
    "name": "fluence-demo",
    "licence": "Apache-2.0",
    "size": 64,
    "steps": 20,
    "guidance_scale": 3.0,
    "negative_prompt": unet.NEGATIVE,
    "upscale": 4,
    # How this small UNet learns a product; the papers' own settings are for Stable Diffusion.
    "training": {
        "dreambooth": {"steps": 300, "learning_rate": 3e-4, "batch": 4, "class_images": 32},
        "dreambooth_lora": {"steps": 300, "learning_rate": 2e-3, "batch": 4, "rank": 16, "class_images": 32},
        "textual_inversion": {"steps": 300, "learning_rate": 1e-2, "batch": 8, "vectors": 8},
    },
}


def export(work: Path, target: Path, revision: str) -> None:
    """Write the family of the last checkpoints into `target`."""
    diffusion(work, target / "diffusion")
    reranker(work, target / "clip")
    upscaler(work, target / "swinir")
    card(work, target, revision)


def diffusion(work: Path, target: Path) -> None:
    """The Stable Diffusion pipeline: scheduler, text encoder, tokenizer, UNet, autoencoder; no safety checker."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    pipeline = StableDiffusionPipeline(
        vae=vae.trained(work, CPU),
        text_encoder=text.trained(work, CPU).encoder,
        tokenizer=tokenizer,
        unet=unet.trained(work, CPU),
        scheduler=unet.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(target)
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        shutil.copy(work / "tokenizer" / name, target / "tokenizer" / name)


def reranker(work: Path, target: Path) -> None:
    """CLIP as an open_clip folder for `local-dir:`."""
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = tokens.load(work / "tokenizer")
    model = clip.trained(work, CPU)
    preprocess = {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    settings = {"model_cfg": clip.architecture(tokenizer.get_vocab_size()), "preprocess_cfg": preprocess}
    (target / "open_clip_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    save_file(_half(model.state_dict()), target / "open_clip_model.safetensors", {"format": "pt"})
    for file in (work / "tokenizer").iterdir():
        shutil.copy(file, target / file.name)


def upscaler(work: Path, target: Path) -> None:
    """SwinIR under the official file's keys, its buffers included: spandrel wants them all."""
    target.mkdir(parents=True, exist_ok=True)
    save_file(_half(swinir.trained(work, CPU).state_dict()), target / "model.safetensors", {"format": "pt"})
    (target / "config.json").write_text(json.dumps(swinir.ARCHITECTURE, indent=2) + "\n")


def card(work: Path, target: Path, revision: str) -> None:
    """family.json: how to use the family, what it draws, and the hash of every file."""
    files = sorted(p for p in target.rglob("*") if p.is_file() and p.parent != target)
    hashes = {p.relative_to(target).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    drawn = [concept for concept in concepts.read(work / "concepts.json") if concept.drawn]
    body: dict[str, Any] = {
        **CARD,
        "revision": revision,
        "concepts": [concept.noun for concept in drawn],
        "vocabulary": vocabulary.vocabulary(drawn),
        "sha256": hashes,
    }
    (target / "family.json").write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n")


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
