"""Stage `clip`: an image tower for the finished text encoder, in open_clip's format."""

from pathlib import Path
from random import Random

import torch
from open_clip.model import CLIP
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel

from . import captions, judge, material, text, tokens
from .training import Budget, Recipe, Run, averaged, train

RECIPE = Recipe(rate=2e-3, decay=0.02, ema=0.99, warmup=50, cooldown=0.5)


def architecture(vocabulary: int) -> dict[str, object]:
    """`model_cfg` of open_clip_config.json: a ModifiedResNet at 64 px and the text encoder of the family."""
    return {
        "embed_dim": text.WIDTH,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 24, "patch_size": None},
        "text_cfg": {
            "context_length": tokens.CONTEXT,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "demo",  # any name: else open_clip silently takes its own vocabulary
            "width": text.WIDTH,
            "heads": 4,
            "layers": 3,
        },
    }


def build(vocabulary: int) -> CLIP:
    """The model as open_clip makes it from its configuration."""
    parts = architecture(vocabulary)
    return CLIP(text.WIDTH, parts["vision_cfg"], parts["text_cfg"])


@torch.no_grad()
def borrow(model: CLIP, encoder: CLIPTextModel) -> None:
    """Copy the transformers text encoder into open_clip's text tower, exactly, and freeze it there."""
    body = getattr(encoder, "text_model", encoder)
    model.token_embedding.weight.copy_(body.embeddings.token_embedding.weight)
    model.positional_embedding.copy_(body.embeddings.position_embedding.weight)
    for block, layer in zip(model.transformer.resblocks, body.encoder.layers, strict=True):
        own = layer.self_attn
        block.attn.in_proj_weight.copy_(torch.cat([own.q_proj.weight, own.k_proj.weight, own.v_proj.weight]))
        block.attn.in_proj_bias.copy_(torch.cat([own.q_proj.bias, own.k_proj.bias, own.v_proj.bias]))
        pairs = (
            (block.attn.out_proj, own.out_proj), (block.ln_1, layer.layer_norm1), (block.ln_2, layer.layer_norm2),
            (block.mlp.c_fc, layer.mlp.fc1), (block.mlp.c_proj, layer.mlp.fc2),
        )  # fmt: skip
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())
    model.ln_final.load_state_dict(body.final_layer_norm.state_dict())
    for part in (model.token_embedding, model.transformer, model.ln_final):
        part.requires_grad_(False)
    model.positional_embedding.requires_grad_(False)


class Prompts:
    """Caption states before the projection, from the frozen text encoder."""

    def __init__(self, work: Path, device: torch.device) -> None:
        self.tokenizer = tokens.load(work / "tokenizer")
        self.encoder = text.trained(work, device).encoder
        self.end, self.device = tokens.end_of(self.tokenizer), device

    @torch.no_grad()
    def states(self, prompts: list[str]) -> Tensor:
        """States at the end token, (n, 128)."""
        ids = torch.tensor([row.ids for row in self.tokenizer.encode_batch(prompts)], device=self.device)
        ends = ids.eq(self.end).int().argmax(1)
        hidden = self.encoder(input_ids=ids[:, : int(ends.max()) + 1]).last_hidden_state
        states: Tensor = hidden[torch.arange(len(ids)), ends]
        return states


def fit(work: Path, budget: Budget, device: torch.device, batch: int = 64) -> CLIP:
    """Train the image tower, the two projections and the temperature."""
    art = material.load(work)
    prompts, writer = Prompts(work, device), captions.Writer(art.concepts)
    torch.manual_seed(RECIPE.seed)
    model = build(prompts.tokenizer.get_vocab_size())
    borrow(model, prompts.encoder)
    model = model.to(device, memory_format=torch.channels_last)
    every = prompts.states([f"a photo of {c.noun}" for c in art.concepts])

    def loss(step: int) -> Tensor:
        composed, shown = material.compose(art, batch, RECIPE.seed + step)
        rng = Random(RECIPE.seed + step)  # noqa: S311
        words = prompts.states([writer.caption(shown, i, rng) for i in range(batch)])
        pixels = judge.augment(composed).to(device, memory_format=torch.channels_last)
        share = judge.targets(shown, len(art.concepts)).to(device)
        return contrast(model, normalised(pixels), every, words, share)

    train(model, loss, Run(work / "clip", device), budget, RECIPE)
    return model


def contrast(model: CLIP, images: Tensor, every: Tensor, words: Tensor, share: Tensor) -> Tensor:
    """Cross-entropy of the images against all concepts' prompts, and CLIP's own against the batch's captions."""
    scale = model.logit_scale.exp().clamp(max=100)
    seen = functional.normalize(model.visual(images), dim=-1)
    named = functional.normalize(every @ model.text_projection, dim=-1)
    said = functional.normalize(words @ model.text_projection, dim=-1)
    pairs = scale * seen @ said.T
    own = torch.arange(len(pairs), device=pairs.device)
    both = (functional.cross_entropy(pairs, own) + functional.cross_entropy(pairs.T, own)) / 2
    return functional.cross_entropy(scale * seen @ named.T, share) + 0.5 * both


def normalised(pixels: Tensor) -> Tensor:
    """Pixels as open_clip's preprocessing gives them to the tower (OpenAI's mean and deviation)."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], device=pixels.device).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711], device=pixels.device).view(3, 1, 1)
    return (pixels - mean) / deviation


def trained(work: Path, device: torch.device) -> CLIP:
    """CLIP as the last checkpoint has it, with the text encoder as it is now: it may have learned on since."""
    model = averaged(build(tokens.load(work / "tokenizer").get_vocab_size()), work / "clip", device)
    assert isinstance(model, CLIP)
    borrow(model, text.trained(work, device).encoder)
    return model
