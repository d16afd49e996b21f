"""Reading weight files safely: safetensors, or tensors alone out of a torch file; never a pickle with code in it."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open

from models.errors import UnsafeCheckpoint, WeightsNotFound, WrongArchitecture

State = dict[str, torch.Tensor]
Module = TypeVar("Module", bound=torch.nn.Module)


def read(path: Path, role: str) -> State:
    """Return the tensors of a weight file, on the CPU.

    In memory of their own: a file replaced under a running worker does not change its weights.

    Of a torch file, the tensors lie under `params_ema` or `params` (basicsr), `state_dict` (Lightning), or at the top.
    Raises WeightsNotFound, UnsafeCheckpoint (a pickle that calls anything but tensors), WrongArchitecture (no weights).
    """
    if not path.is_file():
        raise WeightsNotFound(role=role, reference=path.name, hint="there is no such file; check the path.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in ("params_ema", "params", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = dict(content[wrapper])
            break
    state = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    return _without_prefix(state, "params_ema.", "params.")


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(module: Module, state: State, path: str) -> Module:
    """Give the (meta) module its weights, without copying.

    Raises WrongArchitecture: naming the first missing key, unexpected key or shape that does not fit.
    """
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    architecture = type(module).__name__
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        kind, keys = ("no", missing) if missing else ("an unknown", unexpected)
        detail = f"it has {kind} {keys[0]}" + (f" (and {len(keys) - 1} more)" if len(keys) > 1 else "")
        raise WrongArchitecture(path=path, architecture=architecture, detail=detail)
    for key, shape in wanted.items():
        if tuple(state[key].shape) != shape:
            detail = f"{key} is {tuple(state[key].shape)}, not {shape}"
            raise WrongArchitecture(path=path, architecture=architecture, detail=detail)
    module.load_state_dict(state, assign=True)
    return module


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WrongArchitecture(path=path.name, architecture="safetensors", detail=_short(error)) from error


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about the pickle's protocol: it is refused or it is read
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpoint(path=path.name, detail=_culprit(error)) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise WrongArchitecture(path=path.name, architecture="a torch file", detail=_short(error)) from error
    if not isinstance(content, Mapping):
        raise WrongArchitecture(
            path=path.name, architecture="a torch file", detail=f"it holds a {type(content).__name__}"
        )
    return dict(content)


def _without_prefix(state: State, *prefixes: str) -> State:
    """Safetensors files are flat: a converter may have kept basicsr's wrapper as a prefix of every key."""
    for prefix in prefixes:
        chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if chosen:
            return chosen
    return state


def _culprit(error: Exception) -> str:
    """Torch names the refused global as `GLOBAL os.system`; the rest of its message is advice we do not want given."""
    words = str(error).replace("\n", " ").split()
    for before, name in itertools.pairwise(words):
        if before == "GLOBAL":
            return f"it wants {name}"
    return "it holds more than tensors"


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


__all__ = ["State", "fill", "init_empty_weights", "read", "sha256_of"]
