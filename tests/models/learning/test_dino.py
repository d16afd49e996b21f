"""DINO read from transformers' own folders: the right rows, and nothing but safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.errors import WeightsError, WeightsNotFound, WrongArchitecture
from models.learning.dino import DinoEmbedder
from models.weights import catalog
from tests import tiny

CPU = torch.device("cpu")


def loaded(folder: Path) -> DinoEmbedder:
    return DinoEmbedder.load(catalog.resolve("dino", str(folder)), CPU)


def pixels(side: int = 32) -> torch.Tensor:
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_rows_are_the_class_tokens_of_transformers_own_model(kind, tmp_path):
    from transformers import AutoModel

    folder = tiny.dino_folder(tmp_path / kind, kind)
    plain = AutoModel.from_pretrained(folder).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (pixels() - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        expected = plain(pixel_values=normal).last_hidden_state[:, 0]
    rows = loaded(folder).embed_images(pixels())
    assert torch.allclose(rows, torch.nn.functional.normalize(expected, dim=1), atol=1e-5)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (rows[0] @ rows[1]).item() < 0.9999


def test_the_models_own_size_and_normalization_are_used(tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    stated = {"crop_size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    embedder = loaded(folder)
    assert (embedder.side, embedder.mean, embedder.std) == (48, [0.5] * 3, [0.25] * 3)
    assert embedder.embed_images(pixels(96)).shape == (3, 32)


def test_a_file_without_some_weights_is_refused_rather_than_filled_at_random(tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    file = folder / "model.safetensors"
    state = {name: value.clone() for name, value in load_file(file).items()}
    name = next(name for name in state if "attention" in name)
    save_file({key: value for key, value in state.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(WrongArchitecture, match="it has no "):
        loaded(folder)


def test_a_pickle_is_never_read(tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsNotFound, match="no weight files"):
        loaded(folder)


@pytest.mark.parametrize("spoil", ["config.json", "model.safetensors"])
def test_what_is_damaged_is_named(spoil, tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    (folder / spoil).write_bytes(b"{")
    with pytest.raises(WrongArchitecture, match="DINO"):
        loaded(folder)


def test_another_kind_of_model_is_refused(tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModel

    words = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPTextModel(CLIPTextConfig(vocab_size=50, **words)).save_pretrained(tmp_path / "text")
    with pytest.raises(WrongArchitecture, match="it is a clip_text_model, none of vit, dinov2"):
        loaded(tmp_path / "text")


@pytest.mark.parametrize("reference", ["demo", "/nowhere/at/all", "facebook/dinov2-small"])
def test_what_is_not_there_is_named(reference):
    with pytest.raises(WeightsError, match="dino"):
        catalog.resolve("dino", reference)
