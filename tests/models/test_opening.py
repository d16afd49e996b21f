"""Device, precision, sampling, recipe."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import opening
from models.briefs import StudioPlan
from models.errors import NonFiniteOutput, UnusableSchedule
from models.opening import open_studio
from models.serving import collected_notes
from models.weights.families import Family
from tests import tiny

CPU = torch.device("cpu")
ROLES = ("diffusion", "reranking", "upscaling")


def test_the_plan_overrides_the_family_and_the_family_the_architecture(tiny_studio):
    pipeline = tiny_studio.generator.pipeline
    plain, family = StudioPlan(), Family(size=64, steps=7, guidance_scale=3.0)
    assert opening.choose_sampling(plain, pipeline, Family()) == opening.Sampling(32, 20, 7.5, 8)
    assert opening.choose_sampling(plain, pipeline, family) == opening.Sampling(64, 7, 3.0, 8)
    stated = StudioPlan(size=96, steps=1, guidance_scale=0.0, bucket=2)
    assert opening.choose_sampling(stated, pipeline, family) == opening.Sampling(96, 1, 0.0, 2)


def test_the_recipe_names_models_and_settings_but_no_folder(tiny_studio, family_folder):
    recipe = tiny_studio.recipe
    assert [model.role for model in recipe.models] == ["diffusion", "reranking", "upscaling"]
    assert {"steps": 2, "size": 32, "device": "cpu", "dtype": "float32"}.items() <= recipe.settings.items()
    assert str(family_folder) not in repr(recipe)
    assert len(recipe.fingerprint) == 64
    assert {type(value) for value in recipe.settings.values()} <= {str, int, float, bool}, "torch has its own string"


# Another value than the tiny plan's for every field of a plan; a new field needs one here.
OTHERS = {
    "dtype": "bfloat16",
    "steps": 3,
    "guidance_scale": 2.0,
    "size": 64,
    "sampler": "ddim",
    "prediction_type": "v_prediction",
    "zero_snr": True,
    "bucket": 2,
    "tile": 256,
    "tile_overlap": 64,
    "encoding": "webp",
    "quality": 80,
    "compile": True,
}
SAME = {"device": "auto", "threads": 2, "dino": "elsewhere", "concepts": 9}
FIELDS = [field.name for field in dataclasses.fields(StudioPlan)]


def fingerprint(plan):
    threads = torch.get_num_threads()
    try:
        return open_studio(plan).recipe.fingerprint
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in opening.NOT_IN_RECIPE])
def test_every_field_that_decides_bytes_changes_the_fingerprint(tiny_plan, tiny_studio, name):
    # Zero terminal SNR needs velocity prediction.
    plan = dataclasses.replace(tiny_plan, prediction_type="v_prediction") if name == "zero_snr" else tiny_plan
    base = fingerprint(plan) if plan != tiny_plan else tiny_studio.recipe.fingerprint
    changed = dataclasses.replace(plan, **{name: OTHERS[name]})
    assert changed != plan
    assert fingerprint(changed) != base


@pytest.mark.parametrize("name", [name for name in FIELDS if name in SAME])
def test_no_other_field_changes_the_fingerprint(monkeypatch, tiny_plan, tiny_studio, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert name in opening.NOT_IN_RECIPE
    changed = dataclasses.replace(tiny_plan, **{name: SAME[name]})
    assert changed != tiny_plan
    assert fingerprint(changed) == tiny_studio.recipe.fingerprint


def test_the_content_of_weight_files_decides_the_fingerprint(tiny_plan, tiny_studio, family_folder, tmp_path):
    """The same files in another folder are the same recipe; one more byte in any file of any role is another."""
    base = tiny_studio.recipe.fingerprint
    shutil.copytree(family_folder, tmp_path / "copy")
    places = {role: str(tmp_path / "copy" / getattr(tiny_plan, role).split("/")[-1]) for role in ROLES}
    elsewhere = dataclasses.replace(tiny_plan, **places)
    assert fingerprint(elsewhere) == base
    for changed in (
        "diffusion/scheduler/scheduler_config.json",
        "clip/open_clip_config.json",
        "diffusion/tokenizer/tokenizer.json",
    ):
        path = tmp_path / "copy" / changed
        before = path.read_text()
        path.write_text(before + " ")
        assert fingerprint(elsewhere) != base
        path.write_text(before)
    other = tiny.swinir_file(tmp_path / "swinir.safetensors", "real")
    assert fingerprint(dataclasses.replace(tiny_plan, upscaling=str(other))) != base


def test_every_field_is_in_the_recipe_or_listed_as_left_out():
    assert set(FIELDS) - opening.NOT_IN_RECIPE == set(OTHERS)


def test_samplers_of_one_class_are_different_recipes(tiny_plan):
    plans = [dataclasses.replace(tiny_plan, sampler=name) for name in ("euler", "euler-trailing")]
    assert fingerprint(plans[0]) != fingerprint(plans[1])


def test_the_recipe_names_every_library_that_can_change_bytes(tiny_studio):
    versions = opening.library_versions()
    assert versions.keys() == {
        "torch",
        "torchvision",
        "diffusers",
        "transformers",
        "open_clip",
        "basicsr",
        "pillow",
        "zlib",
    }
    assert all(type(version) is str and version[0].isdigit() for version in versions.values())
    assert versions.items() <= tiny_studio.recipe.settings.items()


def test_the_recipe_states_schedule_and_precision_of_each_network(tiny_studio):
    stated = {"prediction_type": "epsilon", "zero_snr": False, "dtype": "float32"}
    stated |= {"dtype_vae": "float32", "dtype_reranking": "float32", "dtype_upscaling": "float32"}
    assert stated.items() <= tiny_studio.recipe.settings.items()


def test_settings_override_what_the_weights_state(tiny_plan):
    plan = dataclasses.replace(tiny_plan, prediction_type="v_prediction", zero_snr=True)
    studio = open_studio(plan)
    scheduler = studio.generator.pipeline.scheduler
    assert (scheduler.config.prediction_type, scheduler.config.timestep_spacing) == ("v_prediction", "trailing")
    assert scheduler.alphas_cumprod[-1] < 1e-6
    assert {"prediction_type": "v_prediction", "zero_snr": True}.items() <= studio.recipe.settings.items()
    with pytest.raises(UnusableSchedule, match="zero terminal SNR, which epsilon prediction cannot start from"):
        open_studio(dataclasses.replace(tiny_plan, zero_snr=True))


def break_vae(folder, tmp_path, factor):
    """Return a copy of the tiny model whose VAE has its decoder's first layer multiplied."""
    copy = shutil.copytree(folder, tmp_path / "model")
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    for end in ("weight", "bias"):
        state[f"decoder.conv_in.{end}"] = state[f"decoder.conv_in.{end}"] * factor
    save_file(state, path)
    config = json.loads((copy / "vae" / "config.json").read_text())
    (copy / "vae" / "config.json").write_text(json.dumps(config | {"force_upcast": False}))
    return str(copy)


def test_a_vae_that_overflows_in_float16_works_in_float32_and_the_recipe_states_it(family_folder, tiny_plan, tmp_path):
    plan = dataclasses.replace(tiny_plan, dtype="float16")
    broken = dataclasses.replace(plan, diffusion=break_vae(family_folder / "diffusion", tmp_path, 1e6))
    with collected_notes() as notes:
        recipe = open_studio(broken).recipe
    assert (recipe.settings["dtype"], recipe.settings["dtype_vae"]) == ("float16", "float32")
    assert "The VAE overflows in float16: it decodes in float32 from now on." in notes


def test_weights_that_give_no_numbers_do_not_open(family_folder, tiny_plan, tmp_path):
    broken = break_vae(family_folder / "diffusion", tmp_path, float("nan"))
    with pytest.raises(NonFiniteOutput, match=r"^The VAE returns .* in float32, .*download them again, or choose oth"):
        open_studio(dataclasses.replace(tiny_plan, diffusion=broken))
