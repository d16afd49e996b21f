"""Samplers by name. Each runs with the noise schedule that the weights were trained on.

dpmsolver++                 Lu et al. 2022, second order: the default, good from 15 steps
euler                       Karras et al. 2022, algorithm 2 without churn
euler-trailing              the same, starting from pure noise: SDXL-Lightning (Lin et al. 2024)
euler-ancestral-trailing    the same, with fresh noise at each step: SD-Turbo and SDXL-Turbo (Sauer et al. 2023)
lcm                         latent consistency models (Luo et al. 2023)
tcd                         trajectory consistency (Zheng et al. 2024): Hyper-SD
ddim                        Song et al. 2020, with no noise added
"""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
    TCDScheduler,
)

from models.briefs import Sampler
from models.errors import UnusableSampler
from models.weights.library_boundary import library_boundary

_TRAILING = {"timestep_spacing": "trailing", "use_karras_sigmas": False}
SAMPLERS: dict[Sampler, tuple[Any, dict[str, Any]]] = {
    "dpmsolver++": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": False},
    ),
    "euler": (EulerDiscreteScheduler, {"use_karras_sigmas": False}),
    "euler-trailing": (EulerDiscreteScheduler, _TRAILING),
    "euler-ancestral-trailing": (EulerAncestralDiscreteScheduler, {"timestep_spacing": "trailing"}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
    # Latents are not confined to [-1,1], and Stable Diffusion's schedule does not end at a noiseless step.
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
}

# The samplers of weights with EDM's continuous noise levels (Karras et al. 2022, section 5): CosXL, Playground 2.5.
EDM_SAMPLERS: dict[Sampler, tuple[Any, dict[str, Any]]] = {
    "dpmsolver++": (EDMDPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler": (EDMEulerScheduler, {}),
}


def choose(own: SchedulerMixin, name: Sampler | None, steps: int) -> SchedulerMixin:
    """Return the named sampler with the schedule of `own`, the weights' scheduler.

    name: None returns `own` if the weights were distilled for it, otherwise DPM-Solver++.
    Raises UnusableSampler if no sampler has this name, or if it does not support this number of steps.
    """
    if name is not None and name not in SAMPLERS:
        raise UnusableSampler(sampler=name, detail=f"it is not one of {', '.join(SAMPLERS)}")
    label = name or type(own).__name__
    with library_boundary(lambda reason: UnusableSampler(sampler=label, detail=reason)):
        sampler = own if name is None and _is_distilled(own) else _with_schedule(own, name or "dpmsolver++")
        sampler.set_timesteps(steps)
    return sampler


def _with_schedule(own: SchedulerMixin, name: Sampler) -> SchedulerMixin:
    samplers = EDM_SAMPLERS if type(own).__name__.startswith("EDM") else SAMPLERS
    if name not in samplers:
        detail = f"the weights need one for EDM noise levels: {', '.join(samplers)}"
        raise UnusableSampler(sampler=name, detail=detail)
    kind, changes = samplers[name]
    sampler: SchedulerMixin = kind.from_config(own.config, **changes)
    return sampler


def _is_distilled(own: SchedulerMixin) -> bool:
    """Return whether the weights were distilled for the few-step sampler that their scheduler file names.

    Consistency models name LCM or TCD; adversarially distilled models (Turbo, Lightning) name Euler with trailing
    timesteps.
    """
    name = type(own).__name__
    trailing_euler = name.startswith("Euler") and own.config.get("timestep_spacing") == "trailing"
    return name in ("LCMScheduler", "TCDScheduler") or trailing_euler
