"""Read weight files safely: safetensors, or the tensors of a torch file; a pickle with code is refused."""

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
from safetensors import safe_open

from models.errors import UnreadableCheckpoint, UnsafeCheckpoint, WeightsNotFound, WrongArchitecture
from models.stages import StepCallback, ignore_steps
from models.weights.library_boundary import library_boundary

StateDict = dict[str, torch.Tensor]
Module = TypeVar("Module", bound=torch.nn.Module)

_HEAD = 1024
_CHUNK = 16 * 2**20


def read(path: Path, role: str, report: StepCallback = ignore_steps) -> StateDict:
    """Return the tensors of a weight file, on the CPU. report: called with tensors read and in total (safetensors).

    They are copies, so replacing the file under a running worker does not change its weights.
    A torch file holds its tensors under `params_ema` or `params` (basicsr), `state_dict` (Lightning), or at the top.
    Raises WeightsNotFound, UnsafeCheckpoint (a pickle that calls anything but tensors), UnreadableCheckpoint (damaged,
    truncated, or a web page), WrongArchitecture (no weights).
    """
    if not path.is_file():
        raise WeightsNotFound(role=role, reference=path.name, hint="there is no such file; check the path.")
    _refuse_failed_downloads(path)
    content = _read_safetensors(path, report) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in ("params_ema", "params", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = dict(content[wrapper])
            break
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    return _without_prefix(state, "params_ema.", "params.")


def sha256_of(path: Path, report: StepCallback = ignore_steps) -> str:
    """Return the hex digest of a file. report: called with bytes read and in total."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done, total)
    return digest.hexdigest()


def fill(module: Module, state: StateDict, path: str) -> Module:
    """Return the (meta) module with the weights of `state`, which are not copied.

    Raises WrongArchitecture, with the first key that is missing, unknown or of another shape or type.
    """
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    architecture = type(module).__name__
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        kind, keys = ("no", missing) if missing else ("an unknown", unexpected)
        detail = f"it has {kind} {keys[0]}" + (f" (and {len(keys) - 1} more)" if len(keys) > 1 else "")
        raise WrongArchitecture(path=path, architecture=architecture, detail=detail)
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            detail = f"{key} is {tuple(state[key].shape)}, not {shape}"
            raise WrongArchitecture(path=path, architecture=architecture, detail=detail)
    for key, _ in module.named_parameters():
        if not state[key].is_floating_point():
            detail = f"{key} is {str(state[key].dtype).removeprefix('torch.')}, not floating point"
            raise WrongArchitecture(path=path, architecture=architecture, detail=detail)
    module.load_state_dict(state, assign=True)
    return module


def _refuse_failed_downloads(path: Path) -> None:
    """Raise UnreadableCheckpoint for the small files that failed downloads and git leave under the right name."""
    with path.open("rb") as file:
        head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!", b"<html", b"<?xml", b"<head", b"<body", b"<error")):
        detail = "it is a web page: the server refused the download, or the address was not that of the file"
    elif head.startswith(b"version https://git-lfs"):
        detail = "it is git's pointer to the file (git lfs pull downloads the file itself)"
    elif not head:
        detail = "it is empty"
    else:
        return
    raise UnreadableCheckpoint(path=path.name, detail=detail)


def _read_safetensors(path: Path, report: StepCallback) -> dict[str, Any]:
    content: dict[str, Any] = {}
    with (
        library_boundary(lambda reason: _unreadable(path, f"it is not a complete safetensors file ({reason})")),
        safe_open(path, framework="pt", device="cpu") as file,
    ):
        names = list(file.keys())
        for name in names:
            content[name] = file.get_tensor(name).clone()
            report(len(content), len(names))
    return content


def _read_torch(path: Path) -> dict[str, Any]:
    with library_boundary(lambda reason: _unreadable(path, f"it is not a complete torch file ({reason})")):
        try:
            with warnings.catch_warnings(action="ignore"):  # about the pickle's protocol, which is irrelevant here
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise _refusal(path, error) from error
    if not isinstance(content, Mapping):
        detail = f"it holds a {type(content).__name__}, not a dictionary of tensors"
        raise WrongArchitecture(path=path.name, architecture="a torch file", detail=detail)
    return dict(content)


def _unreadable(path: Path, detail: str) -> UnreadableCheckpoint:
    return UnreadableCheckpoint(path=path.name, detail=detail)


def _without_prefix(state: StateDict, *prefixes: str) -> StateDict:
    """Return the state without the wrapper's name, which some converters to safetensors put before every key."""
    for prefix in prefixes:
        chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if chosen:
            return chosen
    return state


def _refusal(path: Path, error: pickle.UnpicklingError) -> UnsafeCheckpoint | UnreadableCheckpoint:
    """Return UnsafeCheckpoint for a pickle that holds more than tensors, and UnreadableCheckpoint for anything else.

    Torch reports the refused global as `GLOBAL os.system`. The rest of its message advises to load the file anyway.
    """
    words = str(error).replace("\n", " ").split()
    for before, name in itertools.pairwise(words):
        if before == "GLOBAL":
            return UnsafeCheckpoint(path=path.name, detail=f"it calls {name}")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"\x80"):  # a pickle without torch's archive, in a protocol that torch does not read
        return UnsafeCheckpoint(path=path.name, detail="it holds more than tensors")
    return _unreadable(
        path, "it is text" if head.isascii() and b"\0" not in head else "it is not a complete torch file"
    )


__all__ = ["StateDict", "fill", "init_empty_weights", "read", "sha256_of"]
