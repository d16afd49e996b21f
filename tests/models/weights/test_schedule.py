"""What single files state about their noise schedule, and what settings make of it."""

import pytest
import torch

from models.errors import UnusableSchedule
from models.rendering import samplers
from models.weights import pipelines
from models.weights.schedule import ScheduleOverrides, StatedFile, check_schedule, stated_schedule
from models.weights.single_file import published_config

AS_STATED = ScheduleOverrides()
NONE = torch.tensor([])
PREDICTION = "modelspec.prediction_type"
USUAL = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()


def alphas(betas=USUAL):
    return (1 - betas).cumprod(0)


def cosine():
    return torch.cos(torch.linspace(0.01, 1.5, 1000, dtype=torch.float64)).square()


def zero_snr(values):
    roots = values.sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()


def stated(keys=(), metadata=(), overrides=AS_STATED, kind="sdxl", **tensors):
    state = dict.fromkeys(keys, NONE) | tensors
    file = StatedFile(state, dict(metadata), published_config(kind, "scheduler"), "model.safetensors")
    return stated_schedule(file, overrides, lambda: "epsilon")


@pytest.mark.parametrize(
    ("keys", "metadata", "prediction", "source"),
    [
        ((), {}, "epsilon", "epsilon (the file states no prediction type)"),
        (("v_pred",), {}, "v_prediction", "v_prediction (key v_pred)"),
        ((), {PREDICTION: "v"}, "v_prediction", f"v_prediction ({PREDICTION})"),
        ((), {PREDICTION: "epsilon"}, "epsilon", f"epsilon ({PREDICTION})"),
        (("v_pred",), {PREDICTION: "v_prediction"}, "v_prediction", f"v_prediction (key v_pred and {PREDICTION})"),
        ((), {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction", "modelspec.architecture"),
        ((), {"modelspec.architecture": "stable-diffusion-v2-512"}, "epsilon", "modelspec.architecture"),
        ((), {"ss_v_parameterization": "True"}, "v_prediction", "ss_v_parameterization"),
        ((), {"ss_v_parameterization": "None"}, "epsilon", "no prediction type"),
    ],
)
def test_every_statement_of_the_prediction_type_is_honoured(keys, metadata, prediction, source):
    config, why = stated(keys, metadata)
    assert config["prediction_type"] == prediction
    assert source in why
    assert not config.get("rescale_betas_zero_snr")


@pytest.mark.parametrize(
    ("case", "source"),
    [
        ({"keys": ("v_pred", "ztsnr")}, "key ztsnr"),
        ({"keys": ("v_pred",), "metadata": {"ss_zero_terminal_snr": "True"}}, "ss_zero_terminal_snr"),
        ({"keys": ("v_pred",), "alphas_cumprod": zero_snr(alphas()).float()}, "alphas_cumprod"),
        ({"keys": ("v_pred",), "denoiser.sigmas": (1 / zero_snr(alphas()) - 1).sqrt().half()}, "denoiser.sigmas"),
    ],
)
def test_zero_terminal_snr_is_honoured_by_the_sampler(case, source):
    """From the file to the timesteps: the first one is the last of the schedule, where no signal is left."""
    config, why = stated(**case)
    sampler = samplers.choose(pipelines.scheduler(config), None, 20)
    assert source in why
    assert sampler.alphas_cumprod[-1] < 1e-6
    assert int(sampler.timesteps[0]) == 999


@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_the_usual_schedule_in_a_file_changes_nothing(kind):
    """The original SD 1.x files hold these tensors; in float16 they are a little off."""
    plain, _ = stated(kind=kind)
    assert stated(kind=kind, alphas_cumprod=alphas().half(), betas=USUAL.float())[0] == plain
    assert stated(kind=kind, betas=USUAL.float())[0] == plain


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("name", [None, "euler", "ddim", "lcm", "tcd"])
def test_a_schedule_of_its_own_reaches_every_sampler(kind, name):
    config, why = stated(kind=kind, alphas_cumprod=cosine().float())
    sampler = samplers.choose(pipelines.scheduler(config), name, 4)
    assert "its own betas (alphas_cumprod)" in why
    assert torch.allclose(sampler.alphas_cumprod.double(), cosine(), atol=1e-5)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"metadata": {PREDICTION: "flow"}}, "modelspec.prediction_type is 'flow'"),
        (
            {"keys": ("v_pred",), "metadata": {PREDICTION: "epsilon"}},
            "contradict each other: key v_pred is v_prediction",
        ),
        ({"metadata": {"modelspec.timestep_range": "0,200"}}, "timestep_range is 0,200"),
        ({"metadata": {"ss_zero_terminal_snr": "perhaps"}}, "ss_zero_terminal_snr is 'perhaps'"),
        ({"denoiser.sigmas": torch.tensor([3.0, 1.0, 2.0] * 333 + [1.0])}, "denoiser.sigmas is no noise schedule"),
        ({"alphas_cumprod": torch.linspace(1, 0.1, 500)}, "alphas_cumprod is no noise schedule of 1000 steps"),
        ({"alphas_cumprod": torch.full((1000,), torch.nan)}, "alphas_cumprod is no noise schedule"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(case, message):
    with pytest.raises(UnusableSchedule, match=message) as caught:
        stated(**case)
    assert "CREATIVES_STUDIO__PREDICTION_TYPE" in str(caught.value)


def test_a_setting_wins_over_statements_even_if_they_contradict_each_other():
    overrides = ScheduleOverrides(prediction_type="epsilon")
    config, why = stated(("v_pred",), {PREDICTION: "epsilon"}, overrides)
    assert config["prediction_type"] == "epsilon"
    assert why == "epsilon (CREATIVES_STUDIO__PREDICTION_TYPE)"


def test_overrides_change_the_configuration():
    assert ScheduleOverrides().changes() == {}
    assert ScheduleOverrides(zero_snr=False).changes() == {"rescale_betas_zero_snr": False}
    changes = ScheduleOverrides("v_prediction", zero_snr=True).changes()
    assert changes == {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (
            {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.01)},
            {"sigma_max": 120.0, "sigma_min": 0.01, "sigma_data": 1.0, "prediction_type": "v_prediction"},
        ),
        (
            {"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)},
            {"sigma_max": 80.0, "sigma_min": 0.002, "sigma_data": 0.5, "prediction_type": "epsilon"},
        ),
    ],
)
@pytest.mark.parametrize(("name", "kind"), [(None, "EDMDPMSolverMultistepScheduler"), ("euler", "EDMEulerScheduler")])
def test_edm_weights_get_a_sampler_of_their_own(tensors, expected, name, kind):
    config, why = stated(**tensors)
    sampler = samplers.choose(pipelines.scheduler(config), name, 4)
    assert why.startswith("EDM with")
    assert type(sampler).__name__ == kind
    assert all(sampler.config[key] == pytest.approx(value) for key, value in expected.items())
    assert float(sampler.sigmas[0]) == pytest.approx(expected["sigma_max"], rel=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rescale_betas_zero_snr": True, "prediction_type": "epsilon"}, "epsilon prediction cannot start from"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "made for FlowMatchEulerDiscreteScheduler"),
        ({"prediction_type": "flow_prediction"}, "made for flow_prediction prediction"),
    ],
)
def test_a_schedule_that_no_sampler_follows_is_refused(config, message):
    with pytest.raises(UnusableSchedule, match=message):
        check_schedule(config, "model")
    check_schedule({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, "model")
