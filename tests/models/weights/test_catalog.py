"""References to weights: every form, and the errors for references to nothing."""

import json

import httpx
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

from models.errors import UnusableCard, WeightsDamaged, WeightsNotFound
from models.weights import catalog
from models.weights.families import Family


@pytest.fixture
def sd_folder(tmp_path):
    folder = tmp_path / "some-model"
    for name, content in {
        "model_index.json": "{}",
        "unet/config.json": "{}",
        "unet/diffusion_pytorch_model.safetensors": "a",
        "unet/diffusion_pytorch_model.fp16.safetensors": "b",
        "unet/diffusion_pytorch_model.bin": "c",
        "text_encoder/model.bin": "d",
        "vae/diffusion_pytorch_model.fp16.safetensors": "e",
        "tokenizer/merges.txt": "f",
        "README.md": '---\nlicense: "creativeml-openrail-m"\ntags: [x]\n---\n# Model',
        "notes.pdf": "g",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_folders_hash_covers_the_files_that_are_read(sd_folder):
    weights = catalog.resolve("diffusion", str(sd_folder))
    assert [name for name, _ in weights.files] == [
        "model_index.json",
        "text_encoder/model.bin",
        "tokenizer/merges.txt",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert (weights.id, weights.licence, len(weights.revision)) == ("some-model", "creativeml-openrail-m", 12)
    before = weights.revision
    (sd_folder / "tokenizer/merges.txt").write_text("changed")
    assert catalog.resolve("diffusion", str(sd_folder)).revision != before
    (sd_folder / "notes.pdf").write_text("changed")
    assert str(sd_folder.parent) not in repr(weights.recipe_entry())


@pytest.mark.parametrize(
    "card", ["# no header", "---\nlicense: [broken", "---\ntags: x\n---\n", "text\n---\nlicense: mit\n---"]
)
def test_a_missing_licence_is_unknown(sd_folder, card):
    (sd_folder / "README.md").write_text(card)
    assert catalog.find_licence(sd_folder) == "unknown"


def test_open_clip_references(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_text("x")
    named = catalog.resolve("reranking", f"ViT-H-14:{file}")
    assert (named.architecture, named.path, named.file()) == ("ViT-H-14", file, file)
    folder = catalog.resolve("reranking", f"local-dir:{tmp_path}")
    assert (folder.architecture, folder.path, folder.file()) == (None, tmp_path, file)


def test_a_folder_with_several_files_is_not_one_file(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_text("x")
    with pytest.raises(WeightsNotFound, match="2 weight files"):
        catalog.resolve("upscaling", str(tmp_path)).file()


@pytest.mark.parametrize(
    ("role", "reference", "hint"),
    [
        ("diffusion", "/nowhere/at/all", "check its spelling"),
        ("diffusion", "owner/name", "pin it: owner/name@<commit>"),
        ("upscaling", "../nowhere.pth", "check its spelling"),
        ("reranking", "ViT-B-32:/nowhere.safetensors", "check its spelling"),
    ],
)
def test_a_reference_to_nothing_is_an_error_of_one_line(role, reference, hint):
    with pytest.raises(WeightsNotFound, match=hint) as caught:
        catalog.resolve(role, reference)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_holds_no_weights(tmp_path):
    with pytest.raises(WeightsNotFound, match="no weight files"):
        catalog.resolve("diffusion", str(tmp_path))


@pytest.fixture
def hub(monkeypatch, sd_folder):
    """A fake of the hub's client. It returns a folder named by its commit, as the real cache does, or raises."""
    requested = {}
    snapshot = sd_folder.rename(sd_folder.parent / "0123abcd")

    def snapshot_download(repository, revision, allow_patterns, ignore_patterns):
        requested.update(repository=repository, revision=revision, patterns=allow_patterns)
        requested.setdefault("ignored", []).append(ignore_patterns)
        if revision == "offline":
            raise LocalEntryNotFoundError("offline")
        if revision == "missing":
            response = httpx.Response(404, request=httpx.Request("GET", "http://hub"))
            raise RevisionNotFoundError("404 Client Error\nmore", response=response)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return requested


def test_a_hub_id_is_pinned_to_the_commit_downloaded(hub):
    weights = catalog.resolve("diffusion", "owner/name@main")
    assert (weights.id, weights.revision, weights.licence) == ("owner/name", "0123abcd", "creativeml-openrail-m")
    assert hub["revision"] == "main"
    assert "unet/*.safetensors" in hub["patterns"]
    assert len(hub["ignored"]) == 1


def test_other_forms_of_the_weights_are_downloaded_only_if_there_is_no_better_one(hub, sd_folder):
    for path in (sd_folder.parent / "0123abcd").rglob("*.*"):
        if path.suffix in catalog.WEIGHT_SUFFIXES:
            path.unlink()
    with pytest.raises(WeightsNotFound, match="no weight files"):
        catalog.resolve("diffusion", "owner/name@main")
    assert "*.bin" in hub["ignored"][0]
    assert hub["ignored"][1] == []


def test_one_file_of_a_hub_repository(hub):
    weights = catalog.resolve("diffusion", "owner/name@v1:unet/diffusion_pytorch_model.safetensors")
    assert weights.file().name == "diffusion_pytorch_model.safetensors"
    assert hub["patterns"] == ["unet/diffusion_pytorch_model.safetensors", "README.md"]
    with pytest.raises(WeightsNotFound, match="it has no file absent"):
        catalog.resolve("diffusion", "owner/name@v1:absent")


@pytest.mark.parametrize(("revision", "hint"), [("offline", "hub cannot be reached"), ("missing", "404 Client Error")])
def test_a_hub_that_fails_is_a_named_error(hub, revision, hint):
    with pytest.raises(WeightsNotFound, match=hint):
        catalog.resolve("diffusion", f"owner/name@{revision}")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("{", r"some-model/family\.json cannot be used: it is not JSON; fix or remove it"),
        ("[]", r"it holds \[\]"),
        ('{"size": "64"}', 'its size is "64"'),
        ('{"steps": 0}', "its steps is 0"),
        ('{"steps": true}', "its steps is true"),
        ('{"guidance_scale": -1}', "its guidance_scale is -1"),
        ('{"negative_prompt": 5}', "its negative_prompt is 5"),
        ('{"training": {"dreambooth": 5}}', "its training is"),
        ('{"vocabulary": ["dog"]}', "its vocabulary is"),
        ('{"vocabulary": {"dog": "pet"}}', "its vocabulary is"),
        ('{"vocabulary": {" ": []}}', "its vocabulary is"),
        ('{"vocabulary": {"dog": [5]}}', "its vocabulary is"),
        (json.dumps({"vocabulary": {"dog": ["x" * 101]}}), "its vocabulary is"),
        (json.dumps({"vocabulary": {"dog": ["pet"] * 101}}), "its vocabulary is"),
        (json.dumps({"vocabulary": {f"dog {n}": [] for n in range(5001)}}), "its vocabulary is"),
        (json.dumps({"vocabulary": {f"dog {n}": ["x" * 99] * 20 for n in range(50)}}), "its vocabulary is"),
        (json.dumps({"vocabulary": {f"dog {n}": ["x"] * 20 for n in range(400)}}), "its vocabulary is"),
    ],
)
def test_a_card_with_an_invalid_value_is_named(sd_folder, card, message):
    (sd_folder / "family.json").write_text(card)
    with pytest.raises(UnusableCard, match=message) as caught:
        catalog.resolve("diffusion", str(sd_folder))
    assert str(sd_folder.parent) not in str(caught.value)


def test_a_card_may_list_what_the_weights_draw(sd_folder):
    (sd_folder / "family.json").write_text('{"vocabulary": {"dog": ["pet"]}}')
    assert catalog.resolve("diffusion", str(sd_folder)).family.vocabulary == {"dog": ["pet"]}
    assert "coffee" in catalog.resolve("diffusion", "demo").family.vocabulary


def test_a_folders_card_sets_its_defaults(sd_folder):
    (sd_folder / "family.json").write_text('{"size": 512, "guidance_scale": 0, "negative_prompt": null, "other": 1}')
    assert catalog.resolve("diffusion", str(sd_folder)).family == Family(size=512, guidance_scale=0)


@pytest.mark.parametrize("reference", ["x" * 5000, "~no-such-user/model"])
def test_an_impossible_path_is_not_found(reference):
    with pytest.raises(WeightsNotFound) as caught:
        catalog.resolve("diffusion", reference)
    assert "\n" not in str(caught.value)


@pytest.fixture
def demo(monkeypatch, tmp_path):
    (tmp_path / "swinir").mkdir()
    (tmp_path / "swinir/model.safetensors").write_text("x")
    card = {
        "name": "demo-family",
        "revision": 3,
        "licence": "Apache-2.0",
        "size": 128,
        "training": {"dreambooth": {"steps": 5}},
    }
    card["sha256"] = {"swinir/model.safetensors": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    (tmp_path / "family.json").write_text(json.dumps(card))
    monkeypatch.setattr(catalog, "DEMO", tmp_path)
    return tmp_path


def test_the_demo_familys_card_sets_its_defaults(demo):
    weights = catalog.resolve("upscaling", "demo")
    assert (weights.id, weights.revision, weights.licence) == ("demo-family", "3", "Apache-2.0")
    assert weights.family == Family(size=128, training={"dreambooth": {"steps": 5}})


def test_a_damaged_demo_file_is_not_loaded(demo):
    (demo / "swinir/model.safetensors").write_text("y")
    with pytest.raises(WeightsDamaged, match=r"demo/swinir/model\.safetensors"):
        catalog.resolve("upscaling", "demo")


def test_an_incomplete_demo_is_named(demo):
    with pytest.raises(WeightsNotFound, match="models/demo is incomplete"):
        catalog.resolve("diffusion", "demo")
