"""Reading weight files safely: safetensors, or tensors alone out of a torch file; never a pickle with code in it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import pickle
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from models.errors import UnreadableCheckpoint, UnsafeCheckpoint, WeightsNotFound, WrongArchitecture

State = dict[str, torch.Tensor]
Module = TypeVar("Module", bound=torch.nn.Module)

# What libraries raise when content is damaged or of something else; they name no error of their own for it.
MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
    struct.error,
)
_HEAD = 1024
_FOLDERS = re.compile(r"(?<![\w./])/(?!/)(?:[^\s'\":,]+/)+")


def read(path: Path, role: str) -> State:
    """Return the tensors of a weight file, on the CPU.

    In memory of their own: a file replaced under a running worker does not change its weights.

    Of a torch file, the tensors lie under `params_ema` or `params` (basicsr), `state_dict` (Lightning), or at the top.
    Raises WeightsNotFound, UnsafeCheckpoint (a pickle that calls anything but tensors), UnreadableCheckpoint (damaged,
    cut short, or a web page saved in its place), WrongArchitecture (no weights).
    """
    if not path.is_file():
        raise WeightsNotFound(role=role, reference=path.name, hint="there is no such file; check the path.")
    _refuse_stand_ins(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in ("params_ema", "params", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = dict(content[wrapper])
            break
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    return _without_prefix(state, "params_ema.", "params.")


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def fitting(path: str, architecture: str) -> Iterator[None]:
    """Name what goes wrong when the content of a file is made into a network: WrongArchitecture."""
    try:
        yield
    except Exception as error:  # the tokenizers library raises Exception itself, so no narrower name would do
        if type(error) is not Exception and not isinstance(error, MALFORMED):
            raise
        detail = f"{reason(error)}; fetch it anew, or choose other weights"
        raise WrongArchitecture(path=path, architecture=architecture, detail=detail) from error


def reason(error: Exception) -> str:
    """Return what a library's error says, in one line and without the machine's folders."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0] if error.args else 'such key'}"
    line = _FOLDERS.sub("", (str(error).strip().splitlines() or [""])[0])[:200].rstrip(" .;")
    if line and not isinstance(error, ArithmeticError | AttributeError | LookupError | TypeError):
        return line
    return f"its content makes no sense ({type(error).__name__}: {line})"


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
    for key, _ in module.named_parameters():
        if not state[key].is_floating_point():
            detail = f"{key} is {str(state[key].dtype).removeprefix('torch.')}, not floating point"
            raise WrongArchitecture(path=path, architecture=architecture, detail=detail)
    module.load_state_dict(state, assign=True)
    return module


def _refuse_stand_ins(path: Path) -> None:
    """A download that failed often leaves a file under the right name that says why, to a person."""
    with path.open("rb") as file:
        head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!", b"<html", b"<?xml", b"<head", b"<body", b"<error")):
        detail = "it is a web page, as a download leaves it that was refused, or whose address was not the file's own"
    elif head.startswith(b"version https://git-lfs"):
        detail = "it is the pointer that git keeps in place of the file (git lfs pull brings the file itself)"
    elif not head:
        detail = "it is empty"
    else:
        return
    raise UnreadableCheckpoint(path=path.name, detail=detail)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - not a dict
    except MALFORMED as error:
        raise UnreadableCheckpoint(
            path=path.name, detail=f"it is no whole safetensors file ({reason(error)})"
        ) from error


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about the pickle's protocol: it is refused or it is read
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except MALFORMED as error:
        raise UnreadableCheckpoint(path=path.name, detail=f"it is no whole torch file ({reason(error)})") from error
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


def _refused(path: Path, error: pickle.UnpicklingError) -> UnsafeCheckpoint | UnreadableCheckpoint:
    """Tell a pickle that asks for more than tensors from one that is none.

    Torch names the refused global as `GLOBAL os.system`; the rest of its message is advice we do not want given.
    """
    words = str(error).replace("\n", " ").split()
    for before, name in itertools.pairwise(words):
        if before == "GLOBAL":
            return UnsafeCheckpoint(path=path.name, detail=f"it wants {name}")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"\x80"):  # a bare pickle, of a protocol that torch does not read
        return UnsafeCheckpoint(path=path.name, detail="it holds more than tensors")
    what = "it is text" if head.isascii() and b"\0" not in head else "it is no whole torch file"
    return UnreadableCheckpoint(path=path.name, detail=what)


__all__ = ["MALFORMED", "State", "fill", "fitting", "init_empty_weights", "read", "reason", "sha256_of"]
