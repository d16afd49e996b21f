"""Stage `text`: a CLIP text encoder that learns to say, from a caption alone, what the picture will show.

Captions are cheap, pictures are not: the encoder first learns the family's words by telling the drawn concepts,
colours and style from thousands of captions a second, and the concept's look as a thumbnail. The CLIP image tower
and the UNet are then trained on the finished encoder.
"""

import json
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from . import captions, material, scenes, tokens
from .crew import ALONE, Crew
from .training import Budget, Recipe, Run, averaged, train

RECIPE = Recipe(rate=2e-3, decay=0.01, ema=0.998, warmup=200, cooldown=0.4)
WIDTH, THUMB = 128, 48


def config(vocabulary: int) -> CLIPTextConfig:
    """Four small layers; GELU as in open_clip, and the last id both ends and pads."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokens.CONTEXT,
        hidden_act="gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
        projection_dim=WIDTH,
    )


class Reader(nn.Module):
    """The text encoder under linear heads for: two concepts, style, wall, table, and two thumbnails."""

    def __init__(self, vocabulary: int, concepts: int) -> None:
        super().__init__()
        self.encoder = CLIPTextModel(config(vocabulary))
        self.sizes = (concepts, concepts + 1, 3, len(scenes.NAMES) + 1, len(scenes.NAMES) + 3, 2 * THUMB)
        self.heads = nn.Linear(WIDTH, sum(self.sizes))

    def forward(self, ids: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """The heads' answers (n, size) from the state at each row's `positions` (n,) of `ids` (n, L)."""
        hidden = self.encoder(input_ids=ids).last_hidden_state
        answers: Tensor = self.heads(hidden[torch.arange(len(ids)), positions])
        return tuple(answers.split(self.sizes, 1))


def lexicon(work: Path) -> set[str]:
    """Every phrase that captions or marketing people may use."""
    art = material.load(work)
    words = {word for c in art.concepts for word in (*c.names, *c.tags, c.label, c.shelf)}
    root = next((work / "packages").glob("emojibase-data@*")) / "package" / "en" / "data.json"
    for entry in json.loads(root.read_text("utf-8")):
        words |= {str(w) for w in (entry["label"], *(entry.get("tags") or ())) if str(w).isascii()}
    lists = (captions.QUALITY, captions.MOODS, captions.PEOPLE, captions.SEGMENTS, captions.AMOUNT, scenes.NAMES)
    words |= {word for group in (*lists, *captions.MEDIA) for word in group}
    return words | {"wooden table surface desk background wall soft light in front of on a blurry deformed watermark"}


def thumbnails(art: material.Art) -> Tensor:
    """Each concept's look, (C, 48): the main components of its shaded sprite at 16 x 16, unit variance overall."""
    level = art.sprites.levels[2][art.shelf.table[:, 0]].float() / 255
    flat = functional.avg_pool2d(level, 4).flatten(1)
    flat = flat - flat.mean(0)
    u, s, _ = torch.linalg.svd(flat, full_matrices=False)
    look: Tensor = u[:, :THUMB] * s[:THUMB]
    return look / look.square().mean().sqrt()


def fit(work: Path, budget: Budget, device: torch.device, batch: int = 192, crew: Crew = ALONE) -> CLIPTextModel:
    """Train the text encoder on captions alone."""
    art = material.load(work)
    if not (work / "tokenizer" / "tokenizer.json").exists():
        tokens.build(work / "tokenizer", lexicon(work))
    tokenizer = tokens.load(work / "tokenizer")
    torch.manual_seed(RECIPE.seed)
    model = Reader(tokenizer.get_vocab_size(), len(art.concepts)).to(device)
    plant(model, art, tokenizer)
    writer, looks, shelf = captions.Writer(art.concepts), thumbnails(art), art.shelf
    end = tokens.end_of(tokenizer)

    def loss(step: int) -> Tensor:
        drawn = scenes.draw(shelf, batch, torch.Generator().manual_seed(RECIPE.seed + step))
        rng = Random(RECIPE.seed + step)  # noqa: S311
        texts = [writer.caption(drawn, i, rng) for i in range(batch)]
        ids = torch.tensor([row.ids for row in tokenizer.encode_batch(texts)])
        ends = ids.eq(end).int().argmax(1)
        length = tokens.CONTEXT if rng.random() < 0.12 else min(tokens.CONTEXT, int(ends.max()) + rng.randint(1, 8))
        late = ends + (torch.rand(batch) * (length - ends)).long()
        answers = model(ids[:, :length].to(device), torch.where(torch.rand(batch) < 0.5, ends, late).to(device))
        return errors(answers, drawn, looks, device)

    train(model, loss, Run(work / "text", device, crew=crew), budget, RECIPE)
    return model.encoder


def errors(answers: tuple[Tensor, ...], drawn: scenes.Scenes, looks: Tensor, device: torch.device) -> Tensor:
    """Cross-entropies of the heads, and the squared error of the thumbnails (zero for no second object)."""
    first, second, style, wall, table, thumbs = answers
    target = drawn.concepts.to(device)
    none = first.shape[1]
    total = functional.cross_entropy(first, target[:, 0]) + functional.cross_entropy(second, target[:, 1] % (none + 1))
    total = total + 0.5 * functional.cross_entropy(style, drawn.style.to(device))
    total = total + 0.5 * functional.cross_entropy(wall, drawn.wall_name.to(device) % wall.shape[1])
    boards = torch.where(drawn.backdrop == 3, drawn.table_name % (scenes.WOOD + 2), scenes.WOOD + 2)
    total = total + 0.5 * functional.cross_entropy(table, boards.to(device))
    padded = torch.cat([looks, torch.zeros(1, THUMB)])
    return total + functional.mse_loss(thumbs, padded[drawn.concepts].flatten(1).to(device))


@torch.no_grad()
def plant(model: Reader, art: material.Art, tokenizer: Tokenizer) -> None:
    """Start each word's embedding near the concepts that it names: weeks of reading in one sum."""
    generator = torch.Generator().manual_seed(RECIPE.seed)
    marks = torch.randn(len(art.concepts), WIDTH, generator=generator)
    table = model.encoder.get_input_embeddings().weight
    table.normal_(0, 0.1, generator=generator)
    for mark, concept in zip(marks, art.concepts, strict=True):
        for strength, phrases in ((0.6, (concept.noun,)), (0.4, concept.synonyms), (0.1, concept.tags)):
            for phrase in phrases:
                pieces = [i for i in tokenizer.encode(phrase, add_special_tokens=False).ids if i < len(table) - 2]
                for piece in set(pieces):
                    table[piece] += strength / len(set(pieces)) * mark.to(table)


def trained(work: Path, device: torch.device) -> Reader:
    """The reader as the last checkpoint has it."""
    vocabulary = tokens.load(work / "tokenizer").get_vocab_size()
    model = averaged(Reader(vocabulary, material.count(work)), work / "text", device)
    assert isinstance(model, Reader)
    return model
