"""Token counts equal those of transformers' own CLIP tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import WeightsNotFound
from streams.segments.token_count import Vocabulary
from tests import fakes

TEXTS = ["espresso", "latte", "croissant", "coffee enthusiast", "soft light", "jar of jam", "don't", "5 kg", "café"]


def clip_folder(folder: Path) -> Path:
    """A small vocabulary in CLIP's own format: 256 bytes, each also as the end of a word, and a few merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    signs = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
    words = ["espresso", "latte", "coffee", "light", "jam", "photo", "advertising", "of"]
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            if (pieces[0], pieces[1]) not in merges:
                merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    tokens = [
        *signs,
        *(sign + "</w>" for sign in signs),
        *(a + b for a, b in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> object:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("text", TEXTS)
def test_counts_equal_transformers(folder: Path, theirs: object, text: str) -> None:
    assert Vocabulary(str(folder)).count(text) == len(theirs(text).input_ids)  # type: ignore[operator]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60).filter(lambda text: "<|" not in text))
@example("an  advertising\tphoto of żółw, don't 123 ☕ İ ﬁ Å")
def test_counts_equal_transformers_on_anything(folder: Path, theirs: object, text: str) -> None:
    assert Vocabulary(str(folder)).count(text) == len(theirs(text).input_ids)  # type: ignore[operator]


def test_the_same_from_tokenizer_json(folder: Path, theirs: object, tmp_path: Path) -> None:
    theirs.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))  # type: ignore[attr-defined]
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        vocabulary = Vocabulary(str(place))
        assert [vocabulary.count(text) for text in TEXTS] == [Vocabulary(str(folder)).count(text) for text in TEXTS]


def test_padding_and_truncation_of_the_file_do_not_count(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = Path(fakes.save_word_tokenizer(tmp_path))
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_padding(length=77)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))
    assert Vocabulary(str(path)).count("one two three four five six") == 8


def test_none_there(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsNotFound, match=r"No weights for tokenizer at .*: expected tokenizer.json, or vocab.json"
    ):
        Vocabulary(str(tmp_path))
