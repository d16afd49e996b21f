"""Device, precision, sampling, recipe."""

import dataclasses

import pytest
import torch

from models import opening
from models.briefs import StudioPlan
from models.errors import DeviceUnavailable
from models.families import Family
from models.studio import Studio
from tests import tiny

CPU = torch.device("cpu")


def test_device_and_precision_are_chosen_and_refused_by_name():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert opening.device_of("auto").type == expected
    assert opening.dtype_of("auto", CPU) == torch.float32
    assert opening.dtype_of("auto", torch.device("cuda")) == torch.bfloat16
    assert opening.dtype_of("float16", CPU) == torch.float16
    with pytest.raises(DeviceUnavailable, match="int8 is none of auto"):
        opening.dtype_of("int8", CPU)
    for name in ("cuda:99", "gpu"):
        with pytest.raises(DeviceUnavailable, match="CREATIVES_STUDIO__DEVICE") as caught:
            opening.device_of(name)
        assert "\n" not in str(caught.value)


def test_the_plan_goes_before_the_family_and_the_family_before_the_architecture(tiny_studio):
    pipeline = tiny_studio.generator.pipeline
    plain, family = StudioPlan(), Family(size=64, steps=7, guidance_scale=3.0)
    assert opening.sampling_of(plain, pipeline, Family()) == opening.Sampling(32, 20, 7.5, 8)
    assert opening.sampling_of(plain, pipeline, family) == opening.Sampling(64, 7, 3.0, 8)
    stated = StudioPlan(size=96, steps=1, guidance_scale=0.0, bucket=2)
    assert opening.sampling_of(stated, pipeline, family) == opening.Sampling(96, 1, 0.0, 2)


def test_the_recipe_names_models_and_settings_but_no_place(tiny_studio, family_folder):
    recipe = tiny_studio.recipe
    assert [model.role for model in recipe.models] == ["diffusion", "reranking", "upscaling"]
    assert {"steps": 2, "size": 32, "device": "cpu", "dtype": "float32"}.items() <= recipe.settings.items()
    assert str(family_folder) not in repr(recipe)
    assert len(recipe.fingerprint) == 64


def test_every_weight_file_and_setting_is_in_the_fingerprint(tiny_plan, tmp_path):
    base = Studio.open(tiny_plan).recipe.fingerprint
    assert Studio.open(tiny_plan).recipe.fingerprint == base
    other = tiny.swinir_file(tmp_path / "swinir.safetensors", "real")
    for plan in (
        dataclasses.replace(tiny_plan, upscaling=str(other)),
        dataclasses.replace(tiny_plan, steps=3),
        dataclasses.replace(tiny_plan, encoding="webp"),
    ):
        assert Studio.open(plan).recipe.fingerprint != base
