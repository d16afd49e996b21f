"""Diffusers folders in the layouts of SD 1.5 and SDXL, and folders of something else."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.errors import UnsafeCheckpoint, WeightsNotFound, WrongArchitecture
from models.weights import pipelines
from models.weights.catalog import resolve
from tests import tiny


def load(folder, dtype=torch.float32):
    return pipelines.load(resolve("diffusion", str(folder)), dtype)


@pytest.fixture
def folder(family_folder, tmp_path):
    return shutil.copytree(family_folder / "diffusion", tmp_path / "model")


def unet_file(folder):
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def test_both_layouts_load(family_folder):
    assert type(load(family_folder / "diffusion")).__name__ == "StableDiffusionPipeline"
    xl = load(tiny.sdxl_folder(family_folder / "xl"), torch.bfloat16)
    assert type(xl).__name__ == "StableDiffusionXLPipeline"
    assert {module.dtype for module in (xl.unet, xl.vae, xl.text_encoder, xl.text_encoder_2)} == {torch.bfloat16}


def test_torch_files_and_the_fp16_variant_load_too(folder):
    state = load_file(unet_file(folder))
    unet_file(folder).unlink()
    torch.save(state, folder / "unet" / "diffusion_pytorch_model.bin")
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    found = load(folder).unet.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_in_several_files_load_too(family_folder, folder, variant):
    """As SDXL's UNet and SD 2.x's text encoder are published."""
    source = load(family_folder / "diffusion")
    for name in ("unet", "text_encoder"):
        shutil.rmtree(folder / name)
        getattr(source, name).save_pretrained(folder / name, max_shard_size="50KB", variant=variant)
        assert len(list((folder / name).glob("*-of-*.safetensors"))) > 1
    found = load(folder)
    for name in ("unet", "text_encoder"):
        expected = getattr(source, name).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in getattr(found, name).state_dict().items())
    (next((folder / "unet").glob("*-of-*.safetensors"))).unlink()
    with pytest.raises(WrongArchitecture, match="model/unet does not fit UNet2DConditionModel"):
        load(folder)


class Evil:
    def __reduce__(self):
        return (eval, ("open('/dev/null')",))


def test_a_torch_file_with_code_is_refused(folder):
    unet_file(folder).unlink()
    torch.save({"a": Evil()}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeCheckpoint, match="eval"):
        load(folder)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_refused(folder, change):
    state = load_file(unet_file(folder))
    key = "mid_block.resnets.0.conv1.weight"
    value = state.pop(key)
    state |= {"missing": {}, "unknown": {key: value, "stranger": value.clone()}, "shape": {key: value[:, :8].clone()}}[
        change
    ]
    save_file(state, unet_file(folder))
    with pytest.raises(WrongArchitecture, match=r"model/unet does not fit UNet2DConditionModel") as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder.parent) not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "FluxPipeline"}, "it is a FluxPipeline"),
        ({"unet": ["diffusers", "SD3Transformer2DModel"]}, "its unet is a SD3Transformer2DModel"),
    ],
)
def test_another_pipeline_is_refused(folder, changes, message):
    index = json.loads((folder / "model_index.json").read_text()) | changes
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WrongArchitecture, match=message):
        load(folder)


@pytest.mark.parametrize("missing", ["model_index.json", "vae", "scheduler/scheduler_config.json", "tokenizer"])
def test_a_missing_part_is_named(folder, missing):
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(WeightsNotFound, match=missing):
        load(folder)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([1, 2], r"model_index\.json holds \[1, 2\], not an object"),
        (None, r"model_index\.json holds null, not an object"),
        ({"_class_name": ["x"]}, r"it is a \['x'\], not a Stable Diffusion"),
        ({"_class_name": "StableDiffusionPipeline", "unet": 5}, r"model_index\.json has 5 for unet"),
        ({"_class_name": "StableDiffusionPipeline"}, r"model_index\.json has null for unet"),
    ],
)
def test_an_index_with_invalid_values_is_named(folder, index, message):
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WrongArchitecture, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"beta_schedule": 5}, "model/scheduler does not fit a diffusers scheduler"),
        ("unet/config.json", {"block_out_channels": [32]}, "model/unet does not fit UNet2DConditionModel"),
        ("unet/config.json", {"act_fn": None}, "model/unet does not fit UNet2DConditionModel"),
        ("vae/config.json", {"latent_channels": "x"}, "model/vae does not fit AutoencoderKL"),
        ("text_encoder/config.json", {"architectures": True}, "model/text_encoder does not fit CLIPTextModel"),
        ("tokenizer/tokenizer.json", {"model": 5}, "model/tokenizer does not fit CLIP's tokenizer"),
    ],
)
def test_a_part_with_a_broken_configuration_is_named(folder, file, changes, message):
    content = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(WrongArchitecture, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder.parent) not in str(caught.value)


def test_the_native_size_is_in_the_unets_configuration(family_folder):
    pipeline = load(family_folder / "diffusion")
    assert pipelines.native_size(pipeline) == 32
    pipeline.unet.register_to_config(sample_size=None)
    with pytest.raises(WrongArchitecture, match="set CREATIVES_STUDIO__SIZE"):
        pipelines.native_size(pipeline)


@pytest.mark.parametrize("name", ["", "AutoencoderKL", "logging", "SomethingNew"])
def test_a_scheduler_of_no_known_class_becomes_dpm_solver(name):
    assert type(pipelines.scheduler({"_class_name": name})).__name__ == "DPMSolverMultistepScheduler"


def test_a_broken_index_is_named(folder):
    (folder / "model_index.json").write_text("{")
    with pytest.raises(WrongArchitecture, match=r"model_index\.json is not JSON"):
        load(folder)


def test_an_empty_tokenizer_is_named(folder):
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    with pytest.raises(WeightsNotFound, match="tokenizer holds no vocabulary"):
        load(folder)
