"""CLIP scores: the same as open_clip's own, from tensors instead of PIL pictures."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from models.errors import WeightsNotFound, WrongArchitecture
from models.rendering.reranking import ClipReranker, _name_and_file
from models.weights.catalog import resolve
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip_folder(family_folder):
    return family_folder / "clip"


@pytest.fixture(scope="module")
def reranker(clip_folder):
    return ClipReranker.load(resolve("reranking", f"local-dir:{clip_folder}"), CPU, torch.float32)


def pictures(count, height=64, width=64):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def test_scores_are_cosines_of_open_clips_own_embeddings(reranker, clip_folder):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    found = reranker.score(pictures(3), "a cup of coffee")
    as_pil = [
        Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)) for picture in pictures(3)
    ]
    with torch.inference_mode():
        rows = model.eval().encode_image(torch.stack([preprocess(picture) for picture in as_pil]), normalize=True)
        text = model.encode_text(tokenizer(["a cup of coffee"]), normalize=True)
    expected = (rows @ text.T)[:, 0]
    assert [row["clip"] for row in found] == pytest.approx(expected.tolist(), abs=2e-3)
    scale = model.logit_scale.exp().item()
    assert [row["clip_logit"] for row in found] == pytest.approx([row["clip"] * scale for row in found], abs=1e-3)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_every_resize_mode_equals_open_clips(reranker, mode):
    cfg = open_clip.transform.PreprocessCfg(size=32, resize_mode=mode, interpolation="bicubic")
    transform = open_clip.transform.image_transform_v2(cfg, is_train=False)
    reranker_of_mode = ClipReranker(reranker.model, reranker.tokenizer, CPU)
    reranker_of_mode.preprocessing = reranker.preprocessing | {"resize_mode": mode, "size": 32}
    picture = pictures(1, 96, 128)
    as_pil = Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    found, expected = reranker_of_mode._preprocess(picture)[0], transform(as_pil)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.03


def test_embeddings_are_unit_rows(reranker):
    images, texts = reranker.embed_images(pictures(2)), reranker.embed_texts(["coffee", "x " * 500])
    assert images.shape[1] == texts.shape[1]
    assert torch.allclose(torch.cat([images, texts]).norm(dim=1), torch.ones(4))


def test_a_named_architecture_with_a_local_file(tmp_path, monkeypatch, clip_folder):
    config = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    del config["text_cfg"]["hf_tokenizer_name"]
    config["text_cfg"]["vocab_size"] = 49408
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    torch.manual_seed(0)
    state = open_clip.CLIP(**config).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "weights.safetensors")
    reranker = ClipReranker.load(resolve("reranking", f"tiny-clip:{tmp_path}/weights.safetensors"), CPU, torch.float32)
    assert all(torch.equal(value, state[key]) for key, value in reranker.model.state_dict().items())
    assert len(reranker.score(pictures(2), "coffee")) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda folder: (folder / "open_clip_config.json").unlink(), WeightsNotFound, "open_clip_config.json"),
        (lambda folder: (folder / "open_clip_config.json").write_text("{}"), WrongArchitecture, "open_clip"),
        (lambda folder: drop(folder, "visual.proj"), WrongArchitecture, "it has no visual.proj"),
    ],
)
def test_a_folder_of_something_else_is_refused_in_one_line(tmp_path, change, error, message):
    folder = tiny.clip_folder(tmp_path / "clip")
    change(folder)
    with pytest.raises(error, match=message) as caught:
        ClipReranker.load(resolve("reranking", str(folder)), CPU, torch.float32)
    assert "\n" not in str(caught.value)


def drop(folder, key):
    path = folder / "open_clip_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != key}, path)


def test_a_file_without_an_architecture_is_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_text("x")
    with pytest.raises(WeightsNotFound, match="name the architecture"):
        _name_and_file(resolve("reranking", str(tmp_path / "weights.safetensors")))


def test_an_unknown_architecture_is_named(tmp_path):
    (tmp_path / "weights.safetensors").write_text("x")
    with pytest.raises(
        WeightsNotFound, match=r"ViT-Z-99: open_clip has no architecture of this name; similar names: ViT"
    ):
        ClipReranker.load(resolve("reranking", f"ViT-Z-99:{tmp_path}/weights.safetensors"), CPU, torch.float32)


@pytest.mark.parametrize(
    ("architecture", "what"),
    [
        ("ViT-B-16-SigLIP", "its tokenizer is timm/ViT-B-16-SigLIP"),
        ("roberta-ViT-B-32", "configuration is roberta-base"),
    ],
)
def test_a_part_missing_from_the_hub_is_named_instead_of_the_file(tmp_path, monkeypatch, architecture, what):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "weights.safetensors").write_text("x")
    with pytest.raises(WeightsNotFound, match=f"{what}.* on the hub.*local-dir:") as caught:
        ClipReranker.load(resolve("reranking", f"{architecture}:{tmp_path}/weights.safetensors"), CPU, torch.float32)
    assert "weights.safetensors" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_broken_tokenizer_is_refused(tmp_path):
    folder = tiny.clip_folder(tmp_path / "clip")
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(WrongArchitecture, match=r"clip does not fit open_clip's tokenizer.*download it again"):
        ClipReranker.load(resolve("reranking", str(folder)), CPU, torch.float32)
