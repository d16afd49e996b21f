"""DinoEmbedder loads transformers folders, safetensors only, and returns the rows that transformers computes."""

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


def load(folder: Path) -> DinoEmbedder:
    return DinoEmbedder.load(catalog.resolve("dino", str(folder)), CPU)


def pixels(side: int = 32) -> torch.Tensor:
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_rows_equal_the_class_tokens_of_transformers(kind, tmp_path):
    from transformers import AutoModel

    folder = tiny.dino_folder(tmp_path / kind, kind)
    reference = AutoModel.from_pretrained(folder).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (pixels() - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        expected = reference(pixel_values=normalized).last_hidden_state[:, 0]
    rows = load(folder).embed_images(pixels())
    assert torch.allclose(rows, torch.nn.functional.normalize(expected, dim=1), atol=1e-5)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (rows[0] @ rows[1]).item() < 0.9999


def test_the_models_own_size_and_normalization_are_used(tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    preprocessor = {"crop_size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    embedder = load(folder)
    assert (embedder.side, embedder.mean, embedder.std) == (48, [0.5] * 3, [0.25] * 3)
    assert embedder.embed_images(pixels(96)).shape == (3, 32)


def test_a_file_with_missing_weights_is_refused(tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    file = folder / "model.safetensors"
    state = {name: value.clone() for name, value in load_file(file).items()}
    name = next(name for name in state if "attention" in name)
    save_file({key: value for key, value in state.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(WrongArchitecture, match="it has no "):
        load(folder)


def test_a_pickle_is_never_read(tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsNotFound, match="no weight files"):
        load(folder)


@pytest.mark.parametrize("spoil", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_named(spoil, tmp_path):
    folder = tiny.dino_folder(tmp_path / "dino")
    (folder / spoil).write_bytes(b"{")
    with pytest.raises(WrongArchitecture, match="DINO"):
        load(folder)


def test_another_kind_of_model_is_refused(tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPTextModel(CLIPTextConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path / "text")
    with pytest.raises(WrongArchitecture, match="it is a clip_text_model, not one of vit, dinov2"):
        load(tmp_path / "text")


@pytest.mark.parametrize("reference", ["demo", "/nowhere/at/all", "facebook/dinov2-small"])
def test_a_missing_model_is_named(reference):
    with pytest.raises(WeightsError, match="dino"):
        catalog.resolve("dino", reference)
