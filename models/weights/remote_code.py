"""Refuse weight folders whose configuration asks a library to run Python from the folder or from a hub.

transformers, diffusers and open_clip can import code that a configuration file names. Weights come from strangers, so
this module refuses such a request before any library reads the folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers import dynamic_module_utils

from models.errors import UnsafeConfiguration

# Keys that make the libraries import code, at any depth.
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipeline", "custom_pipelines", "code_revision"})
# The tokenizer options in open_clip's own configurations. open_clip passes any other option to `from_pretrained`.
_TOKENIZER_OPTIONS = frozenset(
    {"additional_special_tokens", "clean", "context_length", "language", "reduction_mask", "strip_sep_token"}
)
_ADAPTER = "adapter_config.json"  # transformers hands it to peft, which imports a module that it names
_INDEX = ".index.json"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def refuse_remote_code(folder: Path, names: Iterable[str]) -> None:
    """Check the JSON files `names` of a weights folder. Raises UnsafeConfiguration, naming file and key.

    A file that is not JSON passes: its own reader reports it.
    """
    for name in names:
        path = f"{folder.name}/{name}"
        if name.endswith(_ADAPTER):
            raise UnsafeConfiguration(path=path, detail="adapters of the text encoder can import modules")
        if not name.endswith(".json"):
            continue
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            continue
        if name.endswith(_INDEX):
            _check_index(content, path)
        for place, key, value in _entries(content):
            if key in _CODE_KEYS and value not in (None, False):
                detail = f"`{place}` asks to run code that comes with the weights"
                raise UnsafeConfiguration(path=path, detail=detail)
            if key == "tokenizer_kwargs" and isinstance(value, dict):
                _check_tokenizer_options(value, path, place)
            if key == "hf_model_name" and isinstance(value, str) and not _HUB_ID.fullmatch(value):
                raise UnsafeConfiguration(path=path, detail=f"`{place}` is {value[:80]!r}, not the id of a hub model")


def forbid_questions() -> None:
    """Let transformers refuse remote code at once. Otherwise it asks at the terminal and runs it after a `y`."""
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def _check_index(content: Any, path: str) -> None:
    """Refuse an index that names a file outside its folder: the catalog hashes only the folder's own files."""
    files = content.get("weight_map") if isinstance(content, dict) else None
    for file in files.values() if isinstance(files, dict) else ():
        if not isinstance(file, str) or Path(file).name != file:
            raise UnsafeConfiguration(path=path, detail=f"it names the file {str(file)[:80]!r} outside its folder")


def _check_tokenizer_options(options: dict[str, Any], path: str, place: str) -> None:
    unknown = sorted(options.keys() - _TOKENIZER_OPTIONS)
    if unknown:
        raise UnsafeConfiguration(path=path, detail=f"`{place}.{unknown[0]}` is not a known tokenizer option")


def _entries(content: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (path, key, value) of every entry of nested objects and arrays."""
    if isinstance(content, dict):
        for key, value in content.items():
            here = f"{place}.{key}" if place else key
            yield here, key, value
            yield from _entries(value, here)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _entries(value, f"{place}[{number}]")
