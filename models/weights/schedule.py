"""The noise schedule that a single file states: prediction type, zero terminal SNR, own alphas, EDM.

Statements are keys of tensors (`v_pred`, `ztsnr`, `edm_vpred.sigma_max`, `edm_mean`, `alphas_cumprod`, `betas`,
`denoiser.sigmas`) and the safetensors metadata (`modelspec.*` of the Stability AI model specification, `ss_*` of
kohya's sd-scripts). Each one is honoured or refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from models.errors import UnusableSchedule
from models.weights.checkpoints import StateDict

_EPSILON, _VELOCITY = "epsilon", "v_prediction"
_PREDICTION_NAMES = {"epsilon": _EPSILON, "eps": _EPSILON} | dict.fromkeys(
    ("v", "v_prediction", "v-prediction", "vpred", "v_pred"), _VELOCITY
)
_MODELSPEC = "modelspec.prediction_type"
_ARCHITECTURE = "modelspec.architecture"
_ARCHITECTURES = {"stable-diffusion-v2-768-v": _VELOCITY, "stable-diffusion-v2-512": _EPSILON}
_TIMESTEPS = "modelspec.timestep_range"
_FULL_RANGES = ("0,999", "0,1000", "1,1000")
_FLAGS = {"true": True, "false": False, "1": True, "0": False, "none": False, "": False}
_TOLERANCE = 1e-3  # of alphas_cumprod; files store it in float16, too
_EDM = "edm_vpred.sigma_max"


@dataclass(frozen=True)
class ScheduleOverrides:
    """What the settings state about the schedule; None leaves it to the weights."""

    prediction_type: str | None = None
    zero_snr: bool | None = None

    def changes(self) -> dict[str, Any]:
        """Return the changes to a scheduler's configuration."""
        changes: dict[str, Any] = {}
        if self.prediction_type is not None:
            changes["prediction_type"] = self.prediction_type
        if self.zero_snr is not None:
            changes["rescale_betas_zero_snr"] = self.zero_snr
        if self.zero_snr:
            changes["timestep_spacing"] = "trailing"
        return changes


@dataclass(frozen=True)
class StatedFile:
    """A single file as far as its schedule goes. published: the scheduler's configuration of its family."""

    state: StateDict
    metadata: Mapping[str, str]
    published: dict[str, Any]
    path: str


def stated_schedule(
    file: StatedFile, overrides: ScheduleOverrides, guess: Callable[[], str]
) -> tuple[dict[str, Any], str]:
    """Return the scheduler's configuration of a single file, and in words what states it.

    guess: returns the prediction type of a file that states none. Raises UnusableSchedule.
    """
    state, metadata, published, path = file.state, file.metadata, file.published, file.path
    edm = _edm_configuration(state)
    if edm is not None:
        return edm
    prediction, reason = overrides.prediction_type, "CREATIVES_STUDIO__PREDICTION_TYPE"
    if prediction is None:
        prediction, reason = _prediction_type(state, metadata, path)
    if prediction is None:
        prediction, reason = guess(), "the file states no prediction type"
    config = published | {"prediction_type": prediction}
    zero_snr = _zero_snr_statement(state, metadata, path)
    schedule, source = _own_schedule(state, published, path)
    if zero_snr is not None:
        schedule, source = {"rescale_betas_zero_snr": True} | schedule, zero_snr
    if schedule.get("rescale_betas_zero_snr"):
        # Lin et al. 2024: with zero terminal SNR the first step must be the last timestep.
        schedule["timestep_spacing"] = "trailing"
    reasons = [f"{prediction} ({reason})", *([_describe(schedule, source)] if source else [])]
    return config | schedule, ", ".join(reasons)


def check_schedule(config: Mapping[str, Any], path: str) -> None:
    """Raise UnusableSchedule for a schedule that no sampler of ours can follow."""
    name, prediction = str(config.get("_class_name", "")), config.get("prediction_type", _EPSILON)
    if config.get("rescale_betas_zero_snr") and prediction == _EPSILON:
        raise UnusableSchedule(path=path, detail="it has zero terminal SNR, which epsilon prediction cannot start from")
    if "FlowMatch" in name or config.get("use_flow_sigmas") or prediction not in (_EPSILON, _VELOCITY, "sample"):
        kind = name if "FlowMatch" in name else f"{prediction} prediction"
        raise UnusableSchedule(path=path, detail=f"it is made for {kind}, which this service does not sample")


def _prediction_type(state: StateDict, metadata: Mapping[str, str], path: str) -> tuple[str | None, str]:
    """Return the stated prediction type, or None, and the statement."""
    found: dict[str, str] = {}
    if "v_pred" in state:
        found["key v_pred"] = _VELOCITY
    if (stated := metadata.get(_MODELSPEC)) is not None:
        name = _PREDICTION_NAMES.get(stated.strip().lower())
        if name is None:
            raise UnusableSchedule(
                path=path, detail=f"{_MODELSPEC} is {stated[:40]!r}, which this service cannot sample"
            )
        found[_MODELSPEC] = name
    if (architecture := _ARCHITECTURES.get(metadata.get(_ARCHITECTURE, "").split("/")[0])) is not None:
        found[_ARCHITECTURE] = architecture
    if _flag(metadata, "ss_v_parameterization", path) is True:
        found["ss_v_parameterization"] = _VELOCITY
    if len(set(found.values())) > 1:
        detail = f"its statements contradict each other: {', '.join(f'{key} is {kind}' for key, kind in found.items())}"
        raise UnusableSchedule(path=path, detail=detail)
    if (steps := metadata.get(_TIMESTEPS, "0,999").replace(" ", "")) not in _FULL_RANGES:
        raise UnusableSchedule(path=path, detail=f"{_TIMESTEPS} is {steps[:40]}: it denoises only a part of the steps")
    return next(iter(found.values()), None), " and ".join(found)


def _zero_snr_statement(state: StateDict, metadata: Mapping[str, str], path: str) -> str | None:
    """Return the statement that the file was trained with zero terminal SNR, or None."""
    if "ztsnr" in state:
        return "key ztsnr"
    return "ss_zero_terminal_snr" if _flag(metadata, "ss_zero_terminal_snr", path) else None


def _flag(metadata: Mapping[str, str], name: str, path: str) -> bool | None:
    stated = metadata.get(name)
    if stated is None:
        return None
    if stated.strip().lower() not in _FLAGS:
        raise UnusableSchedule(path=path, detail=f"{name} is {stated[:40]!r}, not True or False")
    return _FLAGS[stated.strip().lower()]


def _own_schedule(state: StateDict, published: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """Return what the file's own tensors change in the published schedule, and the tensor's name.

    The original repositories sample with `alphas_cumprod` (SD 1.x, 2.x) or `denoiser.sigmas` (SDXL).
    """
    for name, read in _TENSORS.items():
        if name in state:
            alphas = read(state[name].double().flatten())
            break
    else:
        return {}, ""
    if len(alphas) != published["num_train_timesteps"] or not _is_schedule(alphas):
        raise UnusableSchedule(
            path=path, detail=f"{name} is no noise schedule of {published['num_train_timesteps']} steps"
        )
    usual = _published_alphas(published)
    if torch.allclose(alphas, usual, rtol=0, atol=_TOLERANCE):
        return {}, ""
    if torch.allclose(alphas, _rescaled(usual), rtol=0, atol=_TOLERANCE):
        return {"rescale_betas_zero_snr": True}, name
    previous = torch.cat([alphas.new_ones(1), alphas[:-1]])
    betas = (1 - alphas / previous).clamp(0, 1)
    return {"trained_betas": betas.tolist(), "rescale_betas_zero_snr": bool(alphas[-1] < 1e-6)}, name


_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "alphas_cumprod": lambda values: values,
    "betas": lambda values: (1 - values).cumprod(0),
    "denoiser.sigmas": lambda values: 1 / (1 + values.square()),
}


def _is_schedule(alphas: torch.Tensor) -> bool:
    """Return whether the values fall from at most 1 to at least 0."""
    return bool(((alphas >= 0) & (alphas <= 1)).all() and (alphas.diff() <= 0).all() and alphas[0] > alphas[-1])


def _published_alphas(published: dict[str, Any]) -> torch.Tensor:
    first, last, steps = published["beta_start"], published["beta_end"], published["num_train_timesteps"]
    return (1 - torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()).cumprod(0)


def _rescaled(alphas: torch.Tensor) -> torch.Tensor:
    """Return the schedule with zero terminal SNR (Lin et al. 2024, algorithm 1)."""
    roots = alphas.sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()


def _edm_configuration(state: StateDict) -> tuple[dict[str, Any], str] | None:
    """Return the configuration of EDM weights (Karras et al. 2022), or None.

    `edm_vpred.*` are the keys of CosXL, `edm_mean` and `edm_std` those of Playground 2.5.
    """
    config = {"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_min": 0.002}
    if _EDM in state:
        values = {
            name: float(state[key]) for name in ("sigma_max", "sigma_min") if (key := f"edm_vpred.{name}") in state
        }
        edm = {"sigma_data": 1.0, "prediction_type": _VELOCITY, "sigma_schedule": "exponential"}
        return config | edm | values, f"EDM with {_VELOCITY} (key {_EDM})"
    if {"edm_mean", "edm_std"} <= state.keys():
        edm = {"sigma_data": 0.5, "sigma_max": 80.0, "prediction_type": _EPSILON, "sigma_schedule": "karras"}
        return config | edm, "EDM with epsilon (keys edm_mean and edm_std)"
    return None


def _describe(schedule: Mapping[str, Any], source: str) -> str:
    what = "its own betas" if "trained_betas" in schedule else "zero terminal SNR"
    return f"{what} ({source})"
