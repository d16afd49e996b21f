"""CLIP's vocabulary: the published bytes and ids, in a folder of this project."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import huggingface_hub.constants
import open_clip
import pytest

from models.weights import vocabulary
from streams.segments.token_count import TokenCounter

SHA256 = {
    "vocab.json": "3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69",
    "merges.txt": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",  # as published with SD 1.5
}
TEXTS = ["a cup of coffee, 50% off!", "Żółta łódź — filiżanka", "it's  a   test\n☕"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    hub.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(hub))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "fluence-creatives" / "clip-bpe"
    assert list(hub.iterdir()) == []


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_files_are_written_once_into_our_own_cache_folder(cache):
    assert vocabulary.clip_vocabulary() == cache
    assert digests(cache) == SHA256
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert vocabulary.clip_vocabulary() == cache
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_a_damaged_file_is_written_again(cache):
    vocabulary.clip_vocabulary()
    (cache / "merges.txt").write_text("cut")
    (cache / "vocab.json").unlink()
    vocabulary.clip_vocabulary()
    assert digests(cache) == SHA256


def test_a_cache_that_cannot_be_written_gives_way_to_a_temporary_folder(cache, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = vocabulary.clip_vocabulary()
    assert folder.parent == tmp_path / "temporary"
    assert digests(folder) == SHA256


def test_without_a_cache_variable_the_folder_is_below_the_users_own(cache, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert vocabulary.clip_vocabulary() == tmp_path / "home/.cache/fluence-creatives/clip-bpe"


@pytest.mark.parametrize("text", TEXTS)
def test_device_process_and_worker_read_open_clips_tokens_from_it(cache, text):
    tokenizer = vocabulary.clip_tokenizer()
    expected = [token for token in open_clip.tokenizer.SimpleTokenizer()(text)[0].tolist() if token]
    assert tokenizer(text)["input_ids"] == expected
    path = vocabulary.vocabulary_path(tokenizer)
    assert path == cache
    assert TokenCounter(os.fspath(path)).count(text) == len(expected)


def test_a_folder_without_separate_files_is_read_from_its_tokenizer_json(family_folder, tmp_path):
    folder = shutil.copytree(family_folder / "diffusion" / "tokenizer", tmp_path / "tokenizer")
    (folder / "vocab.json").unlink(missing_ok=True)
    path = vocabulary.vocabulary_path(vocabulary.folder_tokenizer(folder))
    assert path == folder / "tokenizer.json"
    assert path.is_file()
