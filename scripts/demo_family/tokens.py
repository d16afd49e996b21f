"""CLIP's byte-pair tokenizer, pruned: the frequent merges, and all that the family's words need.

Words of the lexicon get the very pieces that the full CLIP vocabulary gives; any other word is spelled with
shorter pieces, down to single characters, so that nothing is unknown.
"""

import gzip
import json
import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer

CONTEXT = 77
FREQUENT = 5000  # CLIP's merges come by frequency: these cover everyday English
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def build(folder: Path, lexicon: set[str]) -> None:
    """Write vocab.json, merges.txt, tokenizer.json and the configs for `lexicon` into `folder`."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    merges = _full_merges()
    needed = _needed(merges, {w for phrase in lexicon for w in WORD.findall(phrase.lower())})
    kept = [pair for rank, pair in enumerate(merges) if rank < FREQUENT or pair in needed]
    letters = list(_byte_letters())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in kept)]
    vocabulary = {piece: i for i, piece in enumerate([*dict.fromkeys(pieces), START, END])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(p) for p in kept) + "\n", "utf-8")
    stock = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT, pad_token=END
    )
    stock.save_pretrained(folder)


def load(folder: Path) -> Tokenizer:
    """The tokenizer of `folder`, padding and truncating to the context length."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(length=CONTEXT, pad_id=end, pad_token=END)
    return tokenizer


def end_of(tokenizer: Tokenizer) -> int:
    """The id that ends a text and pads it."""
    end = tokenizer.token_to_id(END)
    assert end is not None
    return end


def _full_merges() -> list[tuple[str, str]]:
    packed = files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    pairs = [line.split() for line in lines]
    return [(left, right) for left, right in pairs]


def _needed(merges: list[tuple[str, str]], words: set[str]) -> set[tuple[str, str]]:
    """The merges that byte-pair encoding (Sennrich et al. 2016) uses to spell `words`."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    used: set[tuple[str, str]] = set()
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while True:
            pairs = [pair for pair in pairwise(pieces) if pair in ranks]
            if not pairs:
                break
            best = min(pairs, key=ranks.__getitem__)
            used.add(best)
            pieces = _merged(pieces, best)
    return used


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    joined, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            joined.append("".join(pair))
            i += 2
        else:
            joined.append(pieces[i])
            i += 1
    return joined


def _byte_letters() -> list[str]:
    """The printable letter that stands for each byte (as in GPT-2's byte-level encoding)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(spare)}
    return [table[byte] for byte in [*printable, *spare]]
