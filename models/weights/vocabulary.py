"""CLIP's tokenizer, from a folder beside the weights or from the published vocabulary that open_clip ships.

transformers and `streams.segments.token_count` read `vocab.json` and `merges.txt`; open_clip ships one packed list.
This module unpacks the list into a cache folder of this project: $XDG_CACHE_HOME/fluence-creatives/clip-bpe, by default
below ~/.cache, or a temporary folder if that one cannot be written.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path

import open_clip.tokenizer
from transformers import CLIPTokenizer

MERGES = 49152 - 256 - 2


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:  # noqa: S107 - not a secret
    """Return the tokenizer of CLIP ViT-L/14 (77 tokens). It needs no network."""
    return CLIPTokenizer.from_pretrained(
        clip_vocabulary(), local_files_only=True, pad_token=pad_token, model_max_length=77
    )


def folder_tokenizer(folder: Path) -> CLIPTokenizer:
    """Return the tokenizer of a folder that holds `tokenizer.json`, or `vocab.json` and `merges.txt`."""
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def vocabulary_path(tokenizer: CLIPTokenizer) -> Path:
    """Return the path for readers without transformers: `tokenizer.json`, or the folder with `vocab.json`."""
    folder = Path(tokenizer.name_or_path)
    return folder if (folder / "vocab.json").is_file() else folder / "tokenizer.json"


def clip_vocabulary() -> Path:
    """Return a folder with CLIP's `vocab.json` and `merges.txt`; it writes files that are missing or changed."""
    merges = _merges()
    contents = {
        "vocab.json": json.dumps(_vocabulary(merges), ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges]) + "\n",
    }
    try:
        folder = _cache_folder()
        _write_changed(folder, contents)
    except (OSError, RuntimeError):  # a read-only disk; RuntimeError: the user has no home folder
        folder = Path(tempfile.mkdtemp(prefix="clip-bpe-"))
        _write_changed(folder, contents)
    return folder


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(cache) if cache else Path.home() / ".cache") / "fluence-creatives" / "clip-bpe"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_changed(folder: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        path, content = folder / name, text.encode()
        if not path.is_file() or path.read_bytes() != content:
            _write(path, content)


def _write(path: Path, content: bytes) -> None:
    """Write the file atomically, because two workers may start at once."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _merges() -> list[str]:
    path = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return lines[1 : 1 + MERGES]


def _vocabulary(merges: list[str]) -> dict[str, int]:
    """Number the pieces as CLIP does: bytes, bytes that end a word, merged pieces, start and end of text."""
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    return {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
