"""CLIP's vocabulary as files: open_clip ships it as one packed list, tokenizers want `vocab.json` and `merges.txt`."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import huggingface_hub.constants
import open_clip.tokenizer
from transformers import CLIPTokenizer

MERGES = 49152 - 256 - 2


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:  # noqa: S107 - not a secret
    """Return the tokenizer of CLIP ViT-L/14 (77 tokens), made without a network."""
    return CLIPTokenizer.from_pretrained(folder(), pad_token=pad_token, model_max_length=77)


def folder() -> Path:
    """Return a folder with CLIP's `vocab.json` and `merges.txt`; it is written once beside the hub's cache."""
    target = Path(huggingface_hub.constants.HF_HOME) / "fluence-creatives" / "clip-bpe"
    if (target / "merges.txt").is_file():
        return target
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError:
        target = Path(tempfile.mkdtemp(prefix="clip-bpe-"))
    merges = _merges()
    _write(target / "vocab.json", json.dumps(_vocabulary(merges), ensure_ascii=False))
    _write(target / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
    return target


def _merges() -> list[str]:
    path = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return lines[1 : 1 + MERGES]


def _vocabulary(merges: list[str]) -> dict[str, int]:
    """Number the pieces as CLIP does: bytes, bytes that end a word, merged pieces, start and end of text."""
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    return {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}


def _write(path: Path, text: str) -> None:
    """Write whole or not at all: two workers may start at once."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)
