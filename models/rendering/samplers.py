"""Samplers by name: how noise becomes a picture, step by step, with the schedule that the weights were trained on.

dpmsolver++                 Lu et al. 2022, second order: the default, good from 15 steps
euler                       Karras et al. 2022, algorithm 2 without churn
euler-trailing              the same from pure noise on: SDXL-Lightning (Lin et al. 2024)
euler-ancestral-trailing    with fresh noise at each step: SD-Turbo and SDXL-Turbo (Sauer et al. 2023)
lcm                         latent consistency models (Luo et al. 2023)
tcd                         trajectory consistency (Zheng et al. 2024): Hyper-SD
ddim                        Song et al. 2020, without noise on the way
"""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
    TCDScheduler,
)

from models.briefs import Sampler
from models.errors import UnusableSampler
from models.weights.checkpoints import MALFORMED, reason

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


def choose(own: SchedulerMixin, name: Sampler | None, steps: int) -> SchedulerMixin:
    """Return the named sampler with the schedule of `own`, the weights' scheduler; None follows the family's rule.

    Raises UnusableSampler: no sampler has this name, or it does not do this number of steps with this schedule.
    """
    if name is not None and name not in SAMPLERS:
        raise UnusableSampler(sampler=name, detail=f"it is none of {', '.join(SAMPLERS)}")
    try:
        made = own if name is None and _is_distilled(own) else _made(own, name or "dpmsolver++")
        made.set_timesteps(steps)
    except MALFORMED as error:
        raise UnusableSampler(sampler=name or type(own).__name__, detail=reason(error)) from error
    return made


def _made(own: SchedulerMixin, name: Sampler) -> SchedulerMixin:
    kind, changes = SAMPLERS[name]
    made: SchedulerMixin = kind.from_config(own.config, **changes)
    return made


def _is_distilled(own: SchedulerMixin) -> bool:
    """Weights that were distilled for a few-step sampler name it, and keep it unless told otherwise.

    Consistency models name theirs; adversarially distilled ones (Turbo, Lightning) name Euler with trailing timesteps.
    """
    name = type(own).__name__
    trailing_euler = name.startswith("Euler") and own.config.get("timestep_spacing") == "trailing"
    return name in ("LCMScheduler", "TCDScheduler") or trailing_euler
