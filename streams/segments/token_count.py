"""Counts the tokens of a text with the vocabulary of the text encoder, without torch."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from models.errors import WeightsNotFound

_CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class TokenCounter:
    """Counts tokens as a text encoder does.

    path: a `tokenizer.json`, or a folder that holds it or both `vocab.json` and `merges.txt`. Raises WeightsNotFound
    if the files are missing.
    """

    def __init__(self, path: str) -> None:
        location = Path(path)
        file = location / "tokenizer.json" if location.is_dir() else location
        pair = location / "vocab.json", location / "merges.txt"
        if file.is_file():
            self._tokenizer = Tokenizer.from_file(str(file))
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
        elif all(part.is_file() for part in pair):
            self._tokenizer = _clip_tokenizer(*pair)
        else:
            hint = "expected tokenizer.json, or vocab.json and merges.txt."
            raise WeightsNotFound(role="tokenizer", reference=path, hint=hint)

        self._cached_count = lru_cache(maxsize=256)(self._count)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, start and end tokens included."""
        return self._cached_count(text)

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids) + 2


def _clip_tokenizer(vocabulary: Path, merges: Path) -> Tokenizer:
    """Return CLIP's tokenizer (Radford et al. 2021): lower case, byte-level BPE, `</w>` at the end of each word."""
    pairs = [line.split() for line in merges.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=json.loads(vocabulary.read_text(encoding="utf-8")),
            merges=[(left, right) for left, right in (pair for pair in pairs if len(pair) == 2)],
            end_of_word_suffix="</w>",
            unk_token="<|endoftext|>",  # noqa: S106 - a token of text
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer
