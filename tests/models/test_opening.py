"""Device, precision, sampling, recipe."""

import dataclasses
import shutil

import pytest
import torch

from models import opening
from models.briefs import StudioPlan
from models.opening import open_studio
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
    changed = dataclasses.replace(tiny_plan, **{name: OTHERS[name]})
    assert changed != tiny_plan
    assert fingerprint(changed) != tiny_studio.recipe.fingerprint


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
