"""Stage `restore`: from the shipped weights back to checkpoints, so that training goes on from where it was left."""

import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import nn

from . import checkpoints, clip, judge, latents, material, swinir, text, tokens, unet, vae

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def restore(work: Path, shipped: Path, judged: Path) -> None:
    """Write the checkpoints that `work` lacks from the family in `shipped` and the judge in `judged`."""
    if not (work / "tokenizer").exists():
        (work / "tokenizer").mkdir()
        for name in TOKENIZER:  # from CLIP's folder, where it is as trained: diffusers adds to the pipeline's
            shutil.copy(shipped / "clip" / name, work / "tokenizer" / name)
    pipeline = StableDiffusionPipeline.from_pretrained(shipped / "diffusion", torch_dtype=torch.float32)
    if not (work / "code.pt").exists():
        checkpoints.save(unfold(pipeline.vae).state(), work / "code.pt")
    vocabulary = tokens.load(work / "tokenizer").get_vocab_size()
    count = material.count(work)
    reader, decoder, denoiser = text.Reader(vocabulary, count), vae.Decoder(), unet.network()
    reader.encoder.load_state_dict(pipeline.text_encoder.state_dict())
    decoder.vae.load_state_dict(pipeline.vae.state_dict())
    denoiser.load_state_dict(pipeline.unet.state_dict())
    reranker, upscaler, named = clip.build(vocabulary), swinir.build(), judge.Judge(count)
    files = (shipped / "clip" / "open_clip_model.safetensors", shipped / "swinir" / "model.safetensors", judged)
    for model, file in zip((reranker, upscaler, named), files, strict=True):
        model.load_state_dict({k: v.float() for k, v in load_file(file).items()}, strict=False)
    parts = {"text": reader, "vae": decoder, "unet": denoiser, "clip": reranker, "swinir": upscaler, "judge": named}
    for name, model in parts.items():
        _begin(work / name / "checkpoint.pt", model)


def unfold(autoencoder: nn.Module) -> latents.Code:
    """The patch code inside an exported encoder; its mean is known within the code's span, which holds nearly all."""
    conv = autoencoder.encoder.down_blocks[1].downsamplers[0].conv  # type: ignore[union-attr, index]
    count = latents.CHANNELS
    nested = conv.weight[:count, :12, :2, :2].detach().float().reshape(count, 3, 2, 2, 2, 2)
    weight = nested.permute(0, 1, 4, 2, 5, 3).reshape(count, 48)
    deviations = 1 / weight.norm(dim=1)
    mean = -torch.linalg.pinv(weight) @ conv.bias[:count].detach().float()
    return latents.Code(weight * deviations[:, None], mean, deviations)


def _begin(path: Path, model: nn.Module) -> None:
    """A checkpoint at step 0 with these weights and no optimizer; never over an existing one."""
    if not path.exists():
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        checkpoints.save({"model": state, "average": state, "optimizer": {}, "step": 0, "seconds": 0.0}, path)
