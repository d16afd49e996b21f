"""A weights folder cannot run code: neither by itself nor through an option that it sets for a library."""

import contextlib
import json
import shutil
from dataclasses import replace

import pytest
import torch

from models.errors import UnsafeConfiguration, WeightsError
from models.opening import open_studio
from models.rendering.reranking import ClipReranker
from models.weights import catalog

CODE = "import pathlib\npathlib.Path({marker!r}).write_text('ran')\nclass Evil: pass\n"


def edit_json(path, change):
    """Apply `change` to the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def clip(tmp_path, marker):
    """An open_clip folder with a tokenizer that is Python code."""
    folder = tmp_path / "clip"
    shutil.copytree(catalog.DEMO / "clip", folder)
    (folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    return folder


def request_code_by_option(folder):
    def change(config):
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}

    edit_json(folder / "open_clip_config.json", change)
    request_code_by_auto_map(folder)


def request_code_by_auto_map(folder):
    edit_json(
        folder / "tokenizer_config.json",
        lambda config: config.update(auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil"),
    )


@pytest.mark.parametrize("ask", [request_code_by_option, request_code_by_auto_map])
def test_an_open_clip_folder_runs_no_code(clip, marker, tiny_plan, ask):
    ask(clip)
    with pytest.raises(UnsafeConfiguration, match="is refused"):
        open_studio(replace(tiny_plan, reranking=f"local-dir:{clip}"))
    assert not marker.exists()


@pytest.mark.parametrize("option", ["trust_remote_code", "bpe_path", "use_fast", "revision"])
def test_unknown_tokenizer_options_are_refused_by_name(clip, option):
    def change(config):
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "lower", option: "x"}

    edit_json(clip / "open_clip_config.json", change)
    with pytest.raises(UnsafeConfiguration, match=option):
        catalog.resolve("reranking", f"local-dir:{clip}")


def test_known_tokenizer_options_pass(clip):
    edit_json(
        clip / "open_clip_config.json",
        lambda config: config["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"clean": "canonicalize"}),
    )
    assert catalog.resolve("reranking", f"local-dir:{clip}").path == clip


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("model_index.json", {"custom_pipeline": "pipeline.py"}),
        ("unet/config.json", {"auto_map": {"AutoModel": "evil.Evil"}}),
        ("text_encoder/config.json", {"nested": [{"auto_map": {"AutoModel": "evil.Evil"}}]}),
        ("tokenizer/tokenizer_config.json", {"trust_remote_code": True}),
    ],
)
def test_a_diffusers_folder_that_asks_for_code_is_refused(tmp_path, name, entry):
    folder = tmp_path / "sd"
    shutil.copytree(catalog.DEMO / "diffusion", folder)
    edit_json(folder / name, lambda config: config.update(entry))
    with pytest.raises(UnsafeConfiguration, match=name):
        catalog.resolve("diffusion", str(folder))


def test_a_dino_folder_that_asks_for_code_is_refused(tmp_path):
    folder = tmp_path / "dino"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "config.json").write_text('{"auto_map": {"AutoConfig": "evil.Evil"}, "model_type": "evil"}')
    with pytest.raises(UnsafeConfiguration, match="auto_map"):
        catalog.resolve("dino", str(folder))


def test_a_deeply_nested_configuration_is_left_to_its_reader(clip, tiny_plan):
    (clip / "open_clip_config.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError):
        open_studio(replace(tiny_plan, reranking=f"local-dir:{clip}"))


def test_entries_that_decline_code_pass(clip):
    edit_json(clip / "tokenizer_config.json", lambda config: config.update(trust_remote_code=False, auto_map=None))
    assert catalog.resolve("reranking", f"local-dir:{clip}").path == clip


def test_an_adapter_configuration_is_refused(tmp_path):
    """transformers would hand it to peft, which imports the module that `megatron_core` names."""
    folder = tmp_path / "sd"
    shutil.copytree(catalog.DEMO / "diffusion", folder)
    (folder / "text_encoder" / "adapter_config.json").write_text('{"megatron_core": "megatron.core"}')
    with pytest.raises(UnsafeConfiguration, match="adapter_config"):
        catalog.resolve("diffusion", str(folder))


@pytest.mark.parametrize("name", ["/models/text", "./text", "../text", "a/b/c"])
def test_a_text_tower_from_a_folder_is_refused(clip, name):
    edit_json(
        clip / "open_clip_config.json",
        lambda config: config["model_cfg"]["text_cfg"].update(hf_model_name=name),
    )
    with pytest.raises(UnsafeConfiguration, match="hub model"):
        catalog.resolve("reranking", f"local-dir:{clip}")


def test_a_configuration_that_changes_after_the_check_runs_no_code(clip, marker):
    weights = catalog.resolve("reranking", f"local-dir:{clip}")
    request_code_by_option(clip)
    with contextlib.suppress(WeightsError):
        ClipReranker.load(weights, torch.device("cpu"), torch.float32)
    assert not marker.exists()


@pytest.mark.parametrize("file", ["../evil.pt", "/tmp/evil.pt", "a/b.bin", 7])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path, file):
    folder = tmp_path / "sd"
    shutil.copytree(catalog.DEMO / "diffusion", folder)
    index = {"metadata": {}, "weight_map": {"a": file}}
    (folder / "text_encoder" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeConfiguration, match="outside its folder"):
        catalog.resolve("diffusion", str(folder))
