"""Token counts equal those of the CLIP tokenizer in transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import WeightsNotFound, WrongArchitecture
from streams.segments.token_count import FILE_LIMIT, TokenCounter
from tests import fakes

TEXTS = ["espresso", "latte", "croissant", "coffee enthusiast", "soft light", "jar of jam", "don't", "5 kg", "café"]


def clip_folder(folder: Path) -> Path:
    """Write a small vocabulary in CLIP's format: 256 bytes, each also as the end of a word, and a few merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    signs = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
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
def clip_tokenizer(folder: Path) -> object:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("text", TEXTS)
def test_counts_equal_transformers(folder: Path, clip_tokenizer: object, text: str) -> None:
    assert TokenCounter(str(folder)).count(text) == len(clip_tokenizer(text).input_ids)  # type: ignore[operator]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60).filter(lambda text: "<|" not in text))
@example("an  advertising\tphoto of żółw, don't 123 ☕ İ ﬁ Å")
def test_counts_equal_transformers_on_anything(folder: Path, clip_tokenizer: object, text: str) -> None:
    assert TokenCounter(str(folder)).count(text) == len(clip_tokenizer(text).input_ids)  # type: ignore[operator]


def test_counts_from_tokenizer_json_are_the_same(folder: Path, clip_tokenizer: object, tmp_path: Path) -> None:
    clip_tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))  # type: ignore[attr-defined]
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        counter = TokenCounter(str(path))
        assert [counter.count(text) for text in TEXTS] == [TokenCounter(str(folder)).count(text) for text in TEXTS]


def test_padding_and_truncation_settings_are_ignored(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = Path(fakes.save_word_tokenizer(tmp_path))
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_padding(length=77)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))
    assert TokenCounter(str(path)).count("one two three four five six") == 8


def test_a_folder_without_a_vocabulary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsNotFound, match=r"No weights for tokenizer at .*: expected tokenizer.json, or vocab.json"
    ):
        TokenCounter(str(tmp_path))


PIECES = {
    "type": "BPE",
    "end_of_word_suffix": "</w>",
    "unk_token": "?",
    "fuse_unk": True,
    "vocab": {"?": 0},
    "merges": [],
}
ADDED = {
    "id": 1,
    "content": "aa",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}


def write(folder: Path, model: object, **steps: object) -> TokenCounter:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"added_tokens": [], "model": model, **steps}), "utf-8")
    return TokenCounter(str(path))


@pytest.mark.parametrize(
    "steps",
    [
        {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}},
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "(?:a|a|aa)+b"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        {"added_tokens": [ADDED]},
    ],
)
def test_the_text_steps_of_a_file_never_run(tmp_path: Path, steps: dict[str, object]) -> None:
    """They would count 82 tokens, panic in the regex library past `except Exception`, and count 22 tokens."""
    assert write(tmp_path, PIECES | {"fuse_unk": False}, **steps).count("a" * 40) == 42


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"type": "WordLevel"}, "model.type: Input should be 'BPE'"),
        ({"end_of_word_suffix": None}, "model.end_of_word_suffix: Input should be '</w>'"),
        ({"vocab": {"?": -1}}, "model.vocab: Input should be greater than or equal to 0"),
        ({"vocab": {}}, "model.vocab: Dictionary should have at least 1 item"),
        ({"vocab": {"a": 0}}, "the vocabulary lacks the token for unknown pieces"),
        ({"vocab": {str(number): number for number in range(200_001)}}, "model.vocab: Dictionary should have at most"),
        ({"merges": [["?", "x"]]}, "a merge is not two pieces of the vocabulary"),
        ({"merges": ["? ? ?"]}, "a merge is not two pieces of the vocabulary"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, changes: dict[str, object], detail: str) -> None:
    with pytest.raises(WrongArchitecture) as caught:
        write(tmp_path, PIECES | changes)
    assert f"{tmp_path / 'tokenizer.json'} does not fit CLIP's tokenizer: {detail}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "detail"),
    [
        ("tokenizer.json", b"[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        ("tokenizer.json", b" " * (FILE_LIMIT + 1), "it has more than 8388608 bytes"),
        ("vocab.json", b"[]", "Input should be an object"),
        ("merges.txt", b"\xff", "it is not UTF-8"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes, detail: str) -> None:
    clip_folder(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongArchitecture, match=f"{name} does not fit CLIP's tokenizer: {detail}"):
        TokenCounter(str(tmp_path))
