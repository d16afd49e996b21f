"""Samplers by name, and the rule if no name is set."""

import pytest
import torch
from diffusers import DDPMScheduler

from models.errors import UnusableSampler
from models.rendering import samplers
from models.weights import pipelines

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction"}


def own(name="PNDMScheduler", **config):
    return pipelines.scheduler({"_class_name": name, **SD, **config})


@pytest.mark.parametrize(
    ("name", "kind", "timesteps"),
    [
        ("dpmsolver++", "DPMSolverMultistepScheduler", [999, 749, 500, 250]),
        ("euler", "EulerDiscreteScheduler", [999, 666, 333, 0]),
        ("euler-trailing", "EulerDiscreteScheduler", [999, 749, 499, 249]),
        ("euler-ancestral-trailing", "EulerAncestralDiscreteScheduler", [999, 749, 499, 249]),
        ("lcm", "LCMScheduler", [999, 759, 499, 259]),
        ("tcd", "TCDScheduler", [999, 759, 499, 259]),
        ("ddim", "DDIMScheduler", [999, 666, 333, 0]),
    ],
)
def test_every_sampler_runs_with_the_schedule_of_the_weights(name, kind, timesteps):
    made = samplers.choose(own("EulerDiscreteScheduler", timestep_spacing="linspace"), name, 4)
    assert type(made).__name__ == kind
    assert made.timesteps.round().int().tolist() == timesteps
    assert torch.allclose(made.alphas_cumprod, DDPMScheduler.from_config(SD).alphas_cumprod)
    assert made.config.prediction_type == "v_prediction"
    assert not made.config.get("clip_sample")
    assert not made.config.get("use_karras_sigmas")


def test_every_name_of_the_settings_has_a_sampler():
    from typing import get_args

    from models.briefs import Sampler

    assert set(samplers.SAMPLERS) == set(get_args(Sampler))


@pytest.mark.parametrize(
    ("name", "config", "chosen"),
    [
        ("PNDMScheduler", {}, "DPMSolverMultistepScheduler"),
        ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}, "DPMSolverMultistepScheduler"),
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, "EulerDiscreteScheduler"),
        ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, "EulerAncestralDiscreteScheduler"),
        ("LCMScheduler", {}, "LCMScheduler"),
        ("TCDScheduler", {}, "TCDScheduler"),
    ],
)
def test_without_a_name_distilled_weights_keep_their_sampler(name, config, chosen):
    assert type(samplers.choose(own(name, **config), None, 4)).__name__ == chosen
    assert type(samplers.choose(own(name, **config), "ddim", 4)).__name__ == "DDIMScheduler"


def test_a_sampler_that_cannot_be_used_is_an_error_of_one_line():
    with pytest.raises(
        UnusableSampler, match=r"The sampler heun cannot be used: it is not one of dpmsolver\+\+, euler,"
    ):
        samplers.choose(own(), "heun", 4)
    with pytest.raises(UnusableSampler, match=r"The sampler lcm cannot be used: .*100.*__STEPS") as caught:
        samplers.choose(own(), "lcm", 100)
    assert "\n" not in str(caught.value)
