"""Counts the tokens of a text with the vocabulary of the text encoder, without torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from models.errors import WeightsNotFound, WrongArchitecture

FILE_LIMIT = 8 * 2**20  # bytes; CLIP's own tokenizer.json has 2 to 4 MB
ENTRIES_LIMIT = 200_000  # CLIP has 49408
_CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

Vocabulary = Annotated[
    dict[str, Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1, max_length=ENTRIES_LIMIT, strict=True)
]
Merges = Annotated[list[tuple[str, str] | str], Field(max_length=ENTRIES_LIMIT)]


class _Pieces(BaseModel):
    """The `model` of a `tokenizer.json`: byte-pair encoding with CLIP's end of a word. Other kinds are errors."""

    model_config = ConfigDict(strict=True)
    type: Literal["BPE"] = "BPE"  # old files leave it out
    end_of_word_suffix: Literal["</w>"]
    continuing_subword_prefix: Literal[""] | None = None
    unk_token: str = "<|endoftext|>"  # noqa: S105 - a token of text
    fuse_unk: bool = False
    vocab: Vocabulary
    merges: Merges


class _TokenizerFile(BaseModel):
    model: _Pieces


class TokenCounter:
    """Counts tokens as CLIP's text encoder does.

    path: a `tokenizer.json`, or a folder that holds it or both `vocab.json` and `merges.txt`. Of a `tokenizer.json`
    only vocabulary and merges count: the text steps that it may list are code of others (patterns and replacements
    that can take any time and memory), and this process has the secrets. Raises WeightsNotFound if the files are
    missing, WrongArchitecture if they are not a vocabulary of CLIP's kind.
    """

    def __init__(self, path: str) -> None:
        location = Path(path)
        file = location / "tokenizer.json" if location.is_dir() else location
        pair = location / "vocab.json", location / "merges.txt"
        if file.is_file():
            self._tokenizer = _clip_tokenizer(_read_tokenizer_file(file), file)
        elif all(part.is_file() for part in pair):
            self._tokenizer = _clip_tokenizer(_read_pair(*pair), pair[0])
        else:
            hint = "expected tokenizer.json, or vocab.json and merges.txt."
            raise WeightsNotFound(role="tokenizer", reference=path, hint=hint)

        self._cached_count = lru_cache(maxsize=256)(self._count)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, start and end tokens included."""
        return self._cached_count(text)

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids) + 2


def _read_tokenizer_file(file: Path) -> _Pieces:
    try:
        return _TokenizerFile.model_validate_json(_read(file)).model
    except ValidationError as error:
        raise _refusal(file, error) from None


def _read_pair(vocabulary: Path, merges: Path) -> _Pieces:
    try:
        lines = [line.split() for line in _read(merges).decode().splitlines() if not line.startswith("#")]
        return _Pieces(
            end_of_word_suffix="</w>",
            vocab=TypeAdapter(Vocabulary).validate_json(_read(vocabulary)),
            merges=[(left, right) for left, right in (line for line in lines if len(line) == 2)],
        )
    except ValidationError as error:
        raise _refusal(vocabulary, error) from None
    except UnicodeDecodeError:
        raise _wrong(merges, "it is not UTF-8") from None


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise _wrong(file, f"it has more than {FILE_LIMIT} bytes")
    return content


def _refusal(file: Path, error: ValidationError) -> WrongArchitecture:
    """Name the first wrong field, without the keys and values of the file: they may be of any length."""
    first = error.errors(include_url=False, include_input=False)[0]
    return _wrong(file, f"{'.'.join(map(str, first['loc'][:2]))}: {first['msg']}".removeprefix(": "))


def _wrong(file: Path, detail: str) -> WrongArchitecture:
    return WrongArchitecture(path=str(file), architecture="CLIP's tokenizer", detail=detail)


def _clip_tokenizer(pieces: _Pieces, file: Path) -> Tokenizer:
    """Return CLIP's tokenizer (Radford et al. 2021): lower case, byte-level BPE, `</w>` at the end of each word."""
    pairs = [pair if isinstance(pair, tuple) else tuple(pair.split(" ")) for pair in pieces.merges]
    if any(len(pair) != 2 or not {*pair, "".join(pair)} <= pieces.vocab.keys() for pair in pairs):
        raise _wrong(file, "a merge is not two pieces of the vocabulary that give a third")
    if pieces.unk_token not in pieces.vocab:
        raise _wrong(file, "the vocabulary lacks the token for unknown pieces")
    tokenizer = Tokenizer(
        models.BPE(
            vocab=pieces.vocab,
            merges=[(left, right) for left, right in pairs],
            end_of_word_suffix="</w>",
            unk_token=pieces.unk_token,
            fuse_unk=pieces.fuse_unk,
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
