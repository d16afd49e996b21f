"""Turn the errors of the libraries that read weights into our named errors."""

from __future__ import annotations

import contextlib
import pickle
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from models.errors import CreativesError, WrongArchitecture

_BAD_CONTENT = (
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
    pickle.UnpicklingError,
    struct.error,
)
_FOLDERS = re.compile(r"(?<![\w./])/(?!/)(?:[^\s'\":,]+/)+")


@contextlib.contextmanager
def library_boundary(named: Callable[[str], CreativesError]) -> Iterator[None]:
    """Raise `named(reason)` for any error that a library raises in the block because of damaged or foreign content.

    torch, safetensors, tokenizers, transformers, diffusers and open_clip share no error class for such content; the
    list above is what random damage makes them raise (tests/models/weights/test_damaged_weights.py). It covers nearly
    all errors, so a bug of ours would look like bad weights: keep the block to calls of libraries. Our own named errors
    pass unchanged.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, _BAD_CONTENT):  # tokenizers raises Exception itself
            raise
        raise named(library_reason(error)) from error


def architecture_boundary(path: str, architecture: str) -> AbstractContextManager[None]:
    """Return a library_boundary that raises WrongArchitecture: `path` does not fit `architecture`."""

    def wrong_architecture(reason: str) -> WrongArchitecture:
        detail = f"{reason}; if the file is damaged, download it again"
        return WrongArchitecture(path=path, architecture=architecture, detail=detail)

    return library_boundary(wrong_architecture)


def library_reason(error: Exception) -> str:
    """Return a library's message in one line, without the folders of this machine."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0] if error.args else 'such key'}"
    line = _FOLDERS.sub("", (str(error).strip().splitlines() or [""])[0])[:200].rstrip(" .;")
    if line and not isinstance(error, ArithmeticError | AttributeError | LookupError | TypeError):
        return line
    return f"its content is not valid ({type(error).__name__}: {line})"
