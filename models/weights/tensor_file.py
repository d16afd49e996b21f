"""Write safetensors files atomically, with equal bytes for equal tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save_file
from torch import Tensor


def write_tensors(tensors: dict[str, Tensor], path: Path, meta: dict[str, str]) -> None:
    """Write a safetensors file that is complete or absent, even if the process dies while it writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial, meta)
    with partial.open("rb+") as file:
        _sort_header(file)
        os.fsync(file.fileno())
    partial.replace(path)


def _sort_header(file: BinaryIO) -> None:
    """Sort the metadata. safetensors writes it in the order of a hash table, which differs between runs."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    if len(ordered) <= length:
        file.seek(8)
        file.write(ordered.ljust(length))
